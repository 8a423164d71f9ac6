"""A student after training, and how it is trained."""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.dpp import Committee, OrderParameters
from tfprune.errors import ConfigError
from tfprune.methods.dpp.arrays_file import load_arrays, save_arrays
from tfprune.methods.dpp.online_sgd import online_sgd
from tfprune.methods.dpp.teacher_task import TeacherTask


@dataclass(frozen=True, eq=False)
class TrainedStudent:
    """A student and what it was trained on.

    Attributes:
        network: The student, as trained.
        moments: Second moments of the training inputs, `[inputs, inputs]`: all that kernels and reweighting need.
        losses: Mean of half the squared error over each block of training examples.
        teacher: Digest of its teacher.
        lr: Learning rate.
        seed: Of its initial weights.
    """

    network: Committee
    moments: np.ndarray
    losses: np.ndarray
    teacher: str
    lr: float
    seed: int

    def check_teacher(self, task: TeacherTask) -> None:
        """`ConfigError` if it was trained with another teacher."""
        OrderParameters.of(self.network, task.network)
        if task.digest != self.teacher:
            raise ConfigError(
                "expected the teacher that the student was trained with, received another; check the paths"
            )

    def save(self, path: str) -> None:
        """Writes it to an .npz file."""
        arrays = {
            "weights": self.network.weights,
            "outgoing": self.network.outgoing,
            "nonlinearity": self.network.nonlinearity,
            "moments": self.moments,
            "losses": self.losses,
            "teacher": self.teacher,
            "lr": self.lr,
            "seed": self.seed,
        }
        save_arrays(path, "student", arrays)

    @classmethod
    def load(cls, path: str) -> "TrainedStudent":
        """Reads it from an .npz file; `CheckpointError` if it holds none."""
        arrays = load_arrays(path, "student")
        return cls(
            Committee(arrays["weights"], arrays["outgoing"], str(arrays["nonlinearity"])),
            arrays["moments"],
            arrays["losses"],
            str(arrays["teacher"]),
            float(arrays["lr"]),
            int(arrays["seed"]),
        )


def initial_student(task: TeacherTask, hidden: int, nonlinearity: str, seed: int) -> Committee:
    """Random weights: standard normal, or N(0, 1/N) for ReLU; v = 1 in a soft committee machine."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(task.network.inputs) if nonlinearity == "relu" else 1.0
    weights = scale * rng.standard_normal((hidden, task.network.inputs))
    outgoing = scale * rng.standard_normal(hidden)
    return Committee(weights, np.ones(hidden) if task.mode == "soft_committee" else outgoing, nonlinearity)


def train_student(task: TeacherTask, initial: Committee, *, lr: float, epochs: int, seed: int) -> TrainedStudent:
    """Trains a student online, in the order of the data, which are drawn block by block.

    Args:
        task: What to learn.
        initial: The student before.
        lr: Learning rate.
        epochs: Passes over the data.
        seed: What gave the initial weights, to be recorded.

    Returns:
        The student.

    Raises:
        ConfigError: The training diverged.
    """
    weights, outgoing = (tf.constant(part, tf.float32) for part in (initial.weights, initial.outgoing))
    moments = np.zeros((initial.inputs, initial.inputs))
    losses: list[float] = []
    with tqdm(total=epochs * task.num_data, desc="student", unit="ex", unit_scale=True, disable=None) as progress:
        for epoch in range(epochs):
            for inputs, labels in task.training():
                weights, outgoing, loss = online_sgd(
                    weights, outgoing, inputs, labels, tf.constant(lr), initial.nonlinearity, task.mode == "normal"
                )
                losses.append(float(loss))
                if not np.isfinite(losses[-1]):
                    raise ConfigError(f"the training diverged at example {progress.n:,}; lower --lr")
                if not epoch:
                    moments += inputs.T @ inputs
                progress.update(len(inputs))
                progress.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    network = replace(initial, weights=weights.numpy().astype(float), outgoing=outgoing.numpy().astype(float))
    return TrainedStudent(network, moments / task.num_data, np.array(losses), task.digest, lr, seed)
