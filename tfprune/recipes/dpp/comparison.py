"""The comparison of all ways of pruning at equal numbers of parameters: the paper's figure.

`run` is `tfprune dpp compare`: for each repeat it trains a student, or uses the one in the folder, prunes it in every
way and size with and without reweighting, and writes errors in theory and in simulation.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfprune.dpp import Committee, generalization_error
from tfprune.errors import RunFolderError
from tfprune.recipes.dpp.config import CompareConfig, TeacherConfig
from tfprune.recipes.dpp.evaluation import simulated_error
from tfprune.recipes.dpp.files import Rows, draw_curves, locked_folder, mean_curves, write_rows, write_table
from tfprune.recipes.dpp.pruning import draw_masks, parameters_left, prune_student
from tfprune.recipes.dpp.student import TrainedStudent, initial_student, train_student
from tfprune.recipes.dpp.teacher import TeacherTask

_CHOICES = ("dpp_node", "random_node", "importance_node", "dpp_edge", "random_edge", "importance_edge")
_RANDOM_SIZE = "dpp_node_random"  # dpp_node whose number of nodes is random


@dataclass(frozen=True)
class ComparisonRow:
    """One way of pruning one student.

    Attributes:
        repeat: Number of the student.
        choice: What was pruned and how it was chosen.
        reweight: 1 if reweighted.
        nodes: The number of nodes with as many parameters.
        k: Nodes kept, or edges kept in each node; the expected size for `dpp_node_random`.
        parameters: Weights left, with those of the output layer; their mean over the masks for `dpp_node_random`.
        masks: Number of masks.
        error: Mean generalization error over the masks, in theory.
        standard_error: Standard error of this mean over the masks.
        simulated: Mean error of the first masks on examples.
        simulated_theory: Mean error of these masks in theory.
        simulated_standard_error: Mean standard error of a simulation over the examples.
        unpruned: Error of the student before pruning.
    """

    repeat: int
    choice: str
    reweight: int
    nodes: int
    k: int
    parameters: float
    masks: int
    error: float
    standard_error: float
    simulated: float
    simulated_theory: float
    simulated_standard_error: float
    unpruned: float


def run(config: CompareConfig) -> list[ComparisonRow]:
    """Trains students, prunes them in all ways, and writes `results.csv`, `table.md` and `figure.png`.

    Args:
        config: The settings.

    Returns:
        The rows of `results.csv`.

    Raises:
        TfpruneError: An error the user can fix.
        KeyboardInterrupt: After Ctrl-C; the same command then continues.
    """
    rows: list[ComparisonRow] = []
    with locked_folder(config.out) as folder:
        for repeat in range(config.repeats):
            task, trained = _student(config, folder, repeat)
            rows += _prune_in_all_ways(config, repeat, task, trained)
            write_rows(folder / "results.csv", [asdict(row) for row in rows])
        print(_summarize([asdict(row) for row in rows], folder))
    return rows


def _student(config: CompareConfig, folder: Path, repeat: int) -> tuple[TeacherTask, TrainedStudent]:
    """Returns teacher and student of a repeat: those in the folder, if they were made with these settings."""
    seed = config.seed + repeat
    teacher_path, student_path = (str(folder / f"{kind}_{repeat}.npz") for kind in ("teacher", "student"))
    names = ("input_dim", "teacher_h_size", "num_data", "mode", "sig_w", "v_star", "nonlinearity")
    settings: dict[str, Any] = {name: getattr(config, name) for name in names}
    task = TeacherTask.draw(TeacherConfig(teacher_path, seed=seed, **settings))
    if Path(student_path).exists() and Path(teacher_path).exists():
        known, found = TeacherTask.load(teacher_path), TrainedStudent.load(student_path)
        same = (known.digest, known.noise, known.num_data, known.mode) == (
            task.digest,
            task.noise,
            task.num_data,
            task.mode,
        )
        alike = (found.network.hidden, found.lr, found.network.nonlinearity) == (
            config.student_h_size,
            config.lr,
            config.nonlinearity,
        )
        if not (same and alike and np.array_equal(known.network.outgoing, task.network.outgoing)):
            raise RunFolderError(f"{folder} holds students of other settings; name another folder")
        return task, found
    task.save(teacher_path)
    initial = initial_student(task, config.student_h_size, config.nonlinearity, seed)
    return task, train_student(task, initial, lr=config.lr, epochs=1, seed=seed, out=student_path)


def _prune_in_all_ways(
    config: CompareConfig, repeat: int, task: TeacherTask, trained: TrainedStudent
) -> list[ComparisonRow]:
    """Returns a row for each choice, size, and with and without reweighting."""
    student = trained.network.normalized()
    inputs, labels = task.test(config.examples)
    seeds = np.random.SeedSequence([config.seed, repeat])
    rows = []
    choices = (*_CHOICES, _RANDOM_SIZE) if config.random_k else _CHOICES
    for choice in tqdm(choices, desc=f"pruning student {repeat + 1}", disable=None):
        nodes = not choice.endswith("edge")
        for count, state in zip(config.nodes, seeds.generate_state(len(config.nodes)), strict=True):
            k = count if nodes else config.edges(count)
            seed = int(state % 2**31)
            if choice == _RANDOM_SIZE:
                ways: dict[str, Any] = {"choice": "dpp_node", "k": "random", "expected_size": k}
            else:
                ways = {"choice": choice, "k": k}
            masks = draw_masks(student=student, moments=trained.moments, count=config.num_masks, seed=seed, **ways)
            counts = {parameters_left(mask) for mask in masks}
            left = counts.pop() if len(counts) == 1 else float(np.mean([parameters_left(mask) for mask in masks]))
            for reweight in (False, True):
                networks = [
                    prune_student(student, mask, trained.moments, nodes=nodes, reweight=reweight) for mask in masks
                ]
                numbers = _errors(networks, student, task, inputs, labels, config.simulated)
                rows.append(ComparisonRow(repeat, choice, int(reweight), count, k, left, len(masks), **numbers))
    return rows


def _errors(
    networks: Sequence[Committee],
    student: Committee,
    task: TeacherTask,
    inputs: np.ndarray,
    labels: np.ndarray,
    simulated: int,
) -> dict[str, float]:
    """Returns the fields of a row with errors."""
    errors = np.array([generalization_error(each, task.network, noise=task.noise) for each in networks])
    some = np.array([simulated_error(each, inputs, labels) for each in networks[:simulated]])
    return {
        "error": float(errors.mean()),
        "standard_error": float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0,
        "simulated": float(some[:, 0].mean()),
        "simulated_theory": float(errors[: len(some)].mean()),
        "simulated_standard_error": float(some[:, 1].mean()),
        "unpruned": generalization_error(student, task.network, noise=task.noise),
    }


def _summarize(rows: Rows, folder: Path) -> str:
    """Draws the figure, writes the table, and returns the table and the agreement of theory and simulation as text."""
    means = mean_curves(rows, "error", at="nodes", x="parameters", other="simulated")
    unpruned = float(np.mean([row["unpruned"] for row in rows]))
    draw_curves(
        folder / "figure.png",
        means,
        unpruned=unpruned,
        x_label="parameters left (crosses: simulated, first masks)",
        y_label="generalization error",
        log=True,
    )
    counts = sorted({row["nodes"] for row in rows})
    fixed = [row for row in rows if row["choice"] != _RANDOM_SIZE]
    parameters = [f"{row['parameters']:,.0f}" for count in counts for row in fixed if row["nodes"] == count]
    heads = list(dict.fromkeys(parameters))
    table = write_table(folder, "k nodes", list(map(str, counts)), means)
    return (
        f"generalization error at equal numbers of parameters ({', '.join(heads)}):\n{table}\n"
        f"unpruned: {unpruned:.4f}\n{_agreement(rows)}\n"
        f"{folder / 'results.csv'}, {folder / 'figure.png'}, {folder / 'table.md'}"
    )


def _agreement(rows: Rows) -> str:
    """Returns a line on how far simulation and theory differ."""
    ratio = [(row["simulated"] - row["simulated_theory"]) / row["simulated_standard_error"] for row in rows]
    relative = [abs(row["simulated"] / row["simulated_theory"] - 1) for row in rows]
    return (
        f"simulation against theory, {len(rows)} points: median difference {100 * np.median(relative):.2f} %, largest "
        f"{100 * max(relative):.2f} %, largest in standard errors {np.abs(ratio).max():.1f}"
    )
