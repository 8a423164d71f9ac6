"""Teachers: random two-layer networks whose noisy outputs are what a student learns.

A `TeacherTask` is a teacher with a rule for its examples. They are drawn in blocks when they are needed, each block
from its own seed, so files hold no data and a training can continue at any block. `run` is `tfprune dpp teacher`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np

from tfprune.dpp import Committee
from tfprune.reading import Expected
from tfprune.recipes.dpp.config import Mode, Nonlinearity, TeacherConfig
from tfprune.recipes.dpp.files import digest, load_arrays, save_arrays
from tfprune.reprs import short_repr

_BLOCK = 5000
_WEIGHTS, _TRAINING, _TEST = range(3)  # streams of random numbers
COMMITTEE = {
    "weights": Expected(axes="hidden inputs"),
    "outgoing": Expected(axes="hidden"),
    "nonlinearity": Expected("text", choices=get_args(Nonlinearity)),
}
"""The arrays of a network, in the order of `Committee`."""
_ARRAYS = COMMITTEE | {
    "noise": Expected(least=0),
    "num_data": Expected("whole numbers", least=1),
    "mode": Expected("text", choices=get_args(Mode)),
    "seed": Expected("whole numbers", least=0),
}


@dataclass(frozen=True, eq=False)
class TeacherTask:
    """A teacher and its examples: what a student has to learn.

    Attributes:
        network: The teacher.
        noise: Standard deviation of the noise on its outputs.
        num_data: Number of training examples.
        mode: `normal` or `soft_committee`.
        seed: Seed of its weights and examples.
    """

    network: Committee
    noise: float
    num_data: int
    mode: str
    seed: int

    __repr__ = short_repr

    @classmethod
    def draw(cls, config: TeacherConfig) -> "TeacherTask":
        """Draws a teacher: W* standard normal, all v* equal."""
        rng = np.random.default_rng([config.seed, _WEIGHTS])
        weights = rng.standard_normal((config.teacher_h_size, config.input_dim))
        outgoing = np.full(config.teacher_h_size, config.v_star if config.mode == "normal" else 1.0)
        network = Committee(weights, outgoing, config.nonlinearity)
        return cls(network, config.sig_w, config.num_data, config.mode, config.seed)

    @property
    def blocks(self) -> int:
        """Number of blocks of training examples."""
        return -(-self.num_data // _BLOCK)

    def examples_before(self, block: int) -> int:
        """Returns the number of training examples before a block."""
        return min(block * _BLOCK, self.num_data)

    def training(self, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the training examples from a block on: inputs `[block, inputs]` and labels `[block]`, float32."""
        return self._blocks(_TRAINING, self.num_data, first)

    def test(self, examples: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns fresh examples: inputs `[examples, inputs]` and labels `[examples]`, float32."""
        blocks = list(self._blocks(_TEST, examples))
        return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])

    @property
    def digest(self) -> str:
        """A digest of the weights, which distinguishes this teacher from others."""
        return digest(self.network.weights)

    def save(self, path: str) -> None:
        """Writes the task to an .npz file."""
        arrays = {
            "weights": self.network.weights,
            "outgoing": self.network.outgoing,
            "nonlinearity": self.network.nonlinearity,
            "noise": self.noise,
            "num_data": self.num_data,
            "mode": self.mode,
            "seed": self.seed,
        }
        save_arrays(path, "teacher", arrays)

    @classmethod
    def load(cls, path: str) -> "TeacherTask":
        """Reads a task from an .npz file; raises `CheckpointError` if it contains none."""
        arrays = load_arrays(path, "teacher", _ARRAYS)
        network = Committee(*(arrays.pop(name) for name in COMMITTEE))
        return cls(network, **arrays)

    def _blocks(self, stream: int, count: int, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields `count` examples of a stream of random numbers, block by block."""
        for block in range(first, -(-count // _BLOCK)):
            start = block * _BLOCK
            rng = np.random.default_rng([self.seed, stream, block])
            inputs = rng.standard_normal((min(_BLOCK, count - start), self.network.inputs), dtype=np.float32)
            noise = self.noise * rng.standard_normal(len(inputs))
            yield inputs, (self.network.predict(inputs) + noise).astype(np.float32)


def run(config: TeacherConfig) -> TeacherTask:
    """Draws a teacher and writes it to a file.

    Args:
        config: The settings.

    Returns:
        The teacher and its examples.

    Raises:
        WriteError: The file cannot be written.
    """
    task = TeacherTask.draw(config)
    task.save(config.out)
    print(
        f"{config.out}: a teacher of {task.network.hidden} hidden nodes ({task.network.nonlinearity}), "
        f"{task.network.inputs} inputs, {task.num_data:,} training examples"
    )
    return task
