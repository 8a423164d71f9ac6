"""How a student is trained: online, on examples that are drawn block by block."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.dpp import Committee
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.online_sgd import online_sgd
from tfprune.recipes.dpp.student_progress import StudentProgress, StudentState, fingerprint_of, progress_path
from tfprune.recipes.dpp.teacher_task import TeacherTask
from tfprune.recipes.dpp.trained_student import TrainedStudent
from tfprune.recipes.training.fit import GracefulInterrupt

SAVE_SECONDS = 20.0


def initial_student(task: TeacherTask, hidden: int, nonlinearity: str, seed: int) -> Committee:
    """Random weights: standard normal, or N(0, 1/N) for ReLU; v = 1 in a soft committee machine."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(task.network.inputs) if nonlinearity == "relu" else 1.0
    weights = scale * rng.standard_normal((hidden, task.network.inputs))
    outgoing = scale * rng.standard_normal(hidden)
    return Committee(weights, np.ones(hidden) if task.mode == "soft_committee" else outgoing, nonlinearity)


def train_student(
    task: TeacherTask, initial: Committee, *, lr: float, epochs: int, seed: int, out: str | Path
) -> TrainedStudent:
    """Trains a student in the order of the data and writes it to a file.

    The state is saved beside that file every 20 seconds and at Ctrl-C. Where such a state is found the training goes on
    from it, and ends with the same student, to the last bit, as if it had never stopped.

    Args:
        task: What to learn.
        initial: The student before.
        lr: Learning rate.
        epochs: Passes over the data.
        seed: What gave the initial weights, to be recorded.
        out: The .npz file to write.

    Returns:
        The student.

    Raises:
        ConfigError: The training diverged.
        RunFolderError: What is saved belongs to a training with other settings.
        KeyboardInterrupt: After Ctrl-C, when the block of examples was finished and the state saved.
    """
    progress = StudentProgress(progress_path(out), fingerprint_of(task, initial, lr, epochs))
    state = progress.load()
    if state is None:
        state = StudentState.start(initial)
    else:
        print(f"going on after {len(state.losses)} of {epochs * task.blocks} blocks of examples")
    _train(task, initial.nonlinearity, lr, epochs, state, progress)
    network = replace(initial, weights=state.weights.astype(float), outgoing=state.outgoing.astype(float))
    student = TrainedStudent(network, state.moments / task.num_data, state.losses, task.digest, lr, seed)
    student.save(str(out))
    progress.remove()
    return student


def _train(
    task: TeacherTask, nonlinearity: str, lr: float, epochs: int, state: StudentState, progress: StudentProgress
) -> None:
    saved = time.monotonic()
    first, start = divmod(len(state.losses), task.blocks)
    seen = first * task.num_data + task.examples_before(start)
    bar = tqdm(total=epochs * task.num_data, initial=seen, desc="student", unit="ex", unit_scale=True, disable=None)
    with GracefulInterrupt() as interrupt, bar:
        for epoch in range(first, epochs):
            for inputs, labels in task.training(start if epoch == first else 0):
                _learn(task, nonlinearity, lr, state, inputs, labels, bar.n)
                if not epoch:
                    exact = inputs.astype(np.float64)  # or kernels of few examples are not positive semidefinite
                    state.moments += exact.T @ exact
                bar.update(len(inputs))
                bar.set_postfix(loss=f"{state.losses[-1]:.4f}", refresh=False)
                if interrupt.requested or time.monotonic() - saved > SAVE_SECONDS:
                    progress.save(state)
                    saved = time.monotonic()
                if interrupt.requested:
                    raise KeyboardInterrupt


def _learn(
    task: TeacherTask,
    nonlinearity: str,
    lr: float,
    state: StudentState,
    inputs: np.ndarray,
    labels: np.ndarray,
    seen: float,
) -> None:
    """A step for each example of a block."""
    weights, outgoing, loss = online_sgd(
        state.weights, state.outgoing, inputs, labels, tf.constant(lr), nonlinearity, task.mode == "normal"
    )
    if not np.isfinite(loss):
        raise ConfigError(f"the training diverged at example {seen:,}; lower --lr")
    state.weights, state.outgoing = weights.numpy(), outgoing.numpy()
    state.losses = np.append(state.losses, float(loss))
