"""What `tfprune dpp evaluate` does."""

from pathlib import Path

import numpy as np

from tfprune.dpp import Alignment, OrderParameters, generalization_error
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.arrays_file import save_arrays
from tfprune.recipes.dpp.config import EvaluateMasksConfig
from tfprune.recipes.dpp.pruned_students import PrunedStudents
from tfprune.recipes.dpp.simulated_error import simulated_error
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.settings import check_output

SIMULATED = 20


def run(config: EvaluateMasksConfig) -> dict[str, np.ndarray]:
    """Order parameters, errors in theory and simulation, a figure; returns the numbers."""
    task, pruned = TeacherTask.load(config.teacher), PrunedStudents.load(config.masks)
    whole = OrderParameters.of(pruned.whole, task.network)
    if pruned.settings["teacher"] != task.digest:
        raise ConfigError("expected the teacher of the student that the masks prune, received another; check the paths")
    figure = config.figure or str(Path(config.masks).with_suffix(".png"))
    check_output(figure, suffix=".png", overwrite=config.overwrite)
    orders = [OrderParameters.of(network, task.network) for network in pruned.networks]
    q, r = np.mean([each.q for each in orders], axis=0), np.mean([each.r for each in orders], axis=0)
    errors = np.array([generalization_error(each, task.network, noise=task.noise) for each in pruned.networks])
    inputs, labels = task.test(config.examples)
    simulated = np.array([simulated_error(each, inputs, labels) for each in pruned.networks[:SIMULATED]])
    numbers = {"q": q, "r": r, "t": whole.t, "errors": errors, "simulated": simulated}
    alignment = Alignment.of(whole.r)
    _print(pruned, numbers, generalization_error(pruned.whole, task.network, noise=task.noise), alignment)
    _draw(figure, whole, q, r, alignment.order)
    if config.out is not None:
        save_arrays(config.out, "evaluation", pruned.settings | numbers | {"alignment": alignment.order})
    print(f"heat maps of Q and R: {figure}")
    return numbers


def _print(pruned: PrunedStudents, numbers: dict[str, np.ndarray], unpruned: float, alignment: Alignment) -> None:
    errors, simulated = numbers["errors"], numbers["simulated"]
    settings = pruned.settings
    note = " reweighted" if settings["reweight"] else ""
    with np.printoptions(precision=3, suppress=True):
        print(f"{settings['choice']} k={settings['k']}{note}, means over {len(errors)} masks, student nodes aligned:")
        for name, matrix in (
            ("Q", numbers["q"][np.ix_(alignment.order, alignment.order)]),
            ("R", numbers["r"][alignment.order]),
            ("T", numbers["t"]),
        ):
            print(f"{name} =\n{matrix}")
    spread = errors.std(ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else 0.0
    print(f"generalisation error: {errors.mean():.5f} +- {spread:.5f} over the masks; unpruned {unpruned:.5f}")
    theory = errors[: len(simulated)].mean()
    print(
        f"simulated: {simulated[:, 0].mean():.5f} +- {simulated[:, 1].mean():.5f} over the examples, where the theory "
        f"says {theory:.5f} (first {len(simulated)} masks)"
    )
    if warning := alignment.warning():
        print(f"warning: {warning}")


def _draw(path: str, whole: OrderParameters, q: np.ndarray, r: np.ndarray, order: np.ndarray) -> None:
    from tfprune.recipes.dpp.figures import overlap_figure  # matplotlib takes its time

    both = np.ix_(order, order)
    overlap_figure(path, {"|Q| before": whole.q[both], "|Q|": q[both], "|R| before": whole.r[order], "|R|": r[order]})
