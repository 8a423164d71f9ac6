"""What `tfprune dpp compare` does."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tfprune.dpp import Committee, generalization_error
from tfprune.errors import RunFolderError
from tfprune.recipes.dpp.compare_summary import summarise
from tfprune.recipes.dpp.config import CompareConfig, TeacherConfig
from tfprune.recipes.dpp.mask_choices import draw_masks
from tfprune.recipes.dpp.pruned_students import prune_student
from tfprune.recipes.dpp.repeats_table import made_folder, write_rows
from tfprune.recipes.dpp.simulated_error import simulated_error
from tfprune.recipes.dpp.student_training import initial_student, train_student
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.recipes.dpp.trained_student import TrainedStudent

CHOICES = ("dpp_node", "random_node", "importance_node", "dpp_edge", "random_edge", "importance_edge")


@dataclass(frozen=True)
class Row:
    """One way of pruning one student.

    Attributes:
        repeat: Which student.
        choice: Which way.
        reweight: 1 if reweighted.
        nodes: The number of nodes that as many parameters are.
        k: Nodes kept, or edges kept in each node.
        parameters: Weights left, with those of the output layer.
        masks: How many masks.
        error: Mean generalisation error over the masks, in theory.
        standard_error: Of this mean, over the masks.
        simulated: Mean error of the first masks on examples.
        simulated_theory: What the theory says of those.
        simulated_standard_error: Mean standard error of a simulation, over the examples.
        unpruned: Error of the student before pruning.
    """

    repeat: int
    choice: str
    reweight: int
    nodes: int
    k: int
    parameters: int
    masks: int
    error: float
    standard_error: float
    simulated: float
    simulated_theory: float
    simulated_standard_error: float
    unpruned: float


def run(config: CompareConfig) -> list[Row]:
    """Trains students, prunes them in all ways, and writes a table and a figure; returns the table's rows."""
    folder = made_folder(config.out)
    rows: list[Row] = []
    for repeat in range(config.repeats):
        task, trained = _student(config, folder, repeat)
        rows += _rows(config, repeat, task, trained)
        write_rows(folder, [asdict(row) for row in rows])
    print(summarise([asdict(row) for row in rows], folder))
    return rows


def _student(config: CompareConfig, folder: Path, repeat: int) -> tuple[TeacherTask, TrainedStudent]:
    """Teacher and student of a repeat: those in the folder, if they were made with these settings."""
    seed = config.seed + repeat
    teacher_path, student_path = (str(folder / f"{kind}_{repeat}.npz") for kind in ("teacher", "student"))
    settings = {
        name: getattr(config, name)
        for name in ("input_dim", "teacher_h_size", "num_data", "mode", "sig_w", "v_star", "nonlinearity")
    }
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


def _rows(config: CompareConfig, repeat: int, task: TeacherTask, trained: TrainedStudent) -> list[Row]:
    student = trained.network.normalized()
    inputs, labels = task.test(config.examples)
    seeds = np.random.SeedSequence([config.seed, repeat])
    rows = []
    for choice in tqdm(CHOICES, desc=f"pruning student {repeat + 1}", disable=None):
        nodes = choice.endswith("node")
        for count, state in zip(config.nodes, seeds.generate_state(len(config.nodes)), strict=True):
            k = count if nodes else config.edges(count)
            masks = draw_masks(choice, student, trained.moments, k, config.num_masks, seed=int(state % 2**31))
            left = k * (config.input_dim + 1) if nodes else config.student_h_size * (k + 1)
            for reweight in (False, True):
                networks = [
                    prune_student(student, mask, trained.moments, nodes=nodes, reweight=reweight) for mask in masks
                ]
                numbers = _errors(networks, student, task, inputs, labels, config.simulated)
                rows.append(Row(repeat, choice, int(reweight), count, k, left, len(masks), **numbers))
    return rows


def _errors(
    networks: list[Committee],
    student: Committee,
    task: TeacherTask,
    inputs: np.ndarray,
    labels: np.ndarray,
    simulated: int,
) -> dict[str, float]:
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
