"""The evaluation of pruned students: order parameters, and generalization errors in theory and in simulation.

`run` is `tfprune dpp evaluate`; it draws heat maps of the overlaps of student and teacher before and after pruning.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfprune.dpp import Alignment, Committee, OrderParameters, generalization_error
from tfprune.errors import ConfigError
from tfprune.files import check_output
from tfprune.recipes.dpp.config import EvaluateMasksConfig
from tfprune.recipes.dpp.files import draw_overlaps, save_arrays
from tfprune.recipes.dpp.pruning import PrunedStudents
from tfprune.recipes.dpp.teacher import TeacherTask

_SIMULATED = 20  # masks


class SimulatedError(NamedTuple):
    """Half the mean squared error on examples, and its standard error."""

    mean: float
    standard_error: float


def simulated_error(network: Committee, inputs: np.ndarray, labels: np.ndarray) -> SimulatedError:
    """Measures the error on examples, to compare with `generalization_error`.

    Args:
        network: The student.
        inputs: `[examples, inputs]`.
        labels: `[examples]`.

    Returns:
        The error.
    """
    halves = np.square(network.predict(inputs) - labels) / 2
    return SimulatedError(float(halves.mean()), float(halves.std(ddof=1) / np.sqrt(len(halves))))


def run(config: EvaluateMasksConfig) -> dict[str, np.ndarray]:
    """Computes order parameters and errors of pruned students, prints them and draws a figure.

    Args:
        config: The settings.

    Returns:
        Order parameters `q`, `r` (means over the masks) and `t`, `errors` in theory and `log_probabilities`, `[masks]`,
        and `simulated` errors with their standard errors for the first masks, `[masks, 2]`.

    Raises:
        TfpruneError: An error the user can fix.
    """
    task, pruned = TeacherTask.load(config.teacher), PrunedStudents.load(config.masks)
    whole = OrderParameters.from_committees(pruned.whole, task.network)
    if pruned.settings["teacher"] != task.digest:
        raise ConfigError("expected the teacher of the student that the masks prune, received another; check the paths")
    figure = config.figure or str(Path(config.masks).with_suffix(".png"))
    check_output(figure, suffix=".png", overwrite=config.overwrite)
    orders = [OrderParameters.from_committees(network, task.network) for network in pruned.networks]
    q, r = np.mean([each.q for each in orders], axis=0), np.mean([each.r for each in orders], axis=0)
    errors = np.array([generalization_error(each, task.network, noise=task.noise) for each in pruned.networks])
    inputs, labels = task.test(config.examples)
    simulated = np.array([simulated_error(each, inputs, labels) for each in pruned.networks[:_SIMULATED]])
    numbers = {"q": q, "r": r, "t": whole.t, "errors": errors, "simulated": simulated}
    numbers["log_probabilities"] = pruned.log_probabilities
    alignment = Alignment.from_overlaps(whole.r)
    _print(pruned, numbers, generalization_error(pruned.whole, task.network, noise=task.noise), alignment)
    order = alignment.order
    both = np.ix_(order, order)
    panels = {"|Q| before": whole.q[both], "|Q|": q[both], "|R| before": whole.r[order], "|R|": r[order]}
    draw_overlaps(figure, panels)
    if config.out is not None:
        save_arrays(config.out, "evaluation", pruned.settings | numbers | {"alignment": order})
    print(f"heat maps of Q and R: {figure}")
    return numbers


def _print(pruned: PrunedStudents, numbers: dict[str, np.ndarray], unpruned: float, alignment: Alignment) -> None:
    """Prints order parameters and errors, with the student's nodes in the order of the teacher's."""
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
    print(f"generalization error: {errors.mean():.5f} +- {spread:.5f} over the masks; unpruned {unpruned:.5f}")
    theory = errors[: len(simulated)].mean()
    print(
        f"simulated: {simulated[:, 0].mean():.5f} +- {simulated[:, 1].mean():.5f} over the examples; in theory "
        f"{theory:.5f} (first {len(simulated)} masks)"
    )
    if warning := alignment.warning():
        print(f"warning: {warning}")
