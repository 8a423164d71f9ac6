"""A teacher and its examples, drawn when they are needed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfprune.dpp import Committee
from tfprune.recipes.dpp.arrays_file import load_arrays, save_arrays
from tfprune.recipes.dpp.config import TeacherConfig

_BLOCK = 5000
_WEIGHTS, _TRAINING, _TEST = range(3)


@dataclass(frozen=True, eq=False)
class TeacherTask:
    """What a student has to learn.

    Attributes:
        network: The teacher.
        noise: Standard deviation of the noise on its outputs.
        num_data: Training examples.
        mode: `normal` or `soft_committee`.
        seed: Of its weights and examples.
    """

    network: Committee
    noise: float
    num_data: int
    mode: str
    seed: int

    @classmethod
    def draw(cls, config: TeacherConfig) -> "TeacherTask":
        """Draws a teacher: W* standard normal, v* all alike."""
        rng = np.random.default_rng([config.seed, _WEIGHTS])
        weights = rng.standard_normal((config.teacher_h_size, config.input_dim))
        outgoing = np.full(config.teacher_h_size, config.v_star if config.mode == "normal" else 1.0)
        network = Committee(weights, outgoing, config.nonlinearity)
        return cls(network, config.sig_w, config.num_data, config.mode, config.seed)

    @property
    def blocks(self) -> int:
        """How many blocks the training examples come in."""
        return -(-self.num_data // _BLOCK)

    def examples_before(self, block: int) -> int:
        """How many training examples come before a block."""
        return min(block * _BLOCK, self.num_data)

    def training(self, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The training examples from a block on: float32 `[block, inputs]`, `[block]` each."""
        return self._blocks(_TRAINING, self.num_data, first)

    def test(self, examples: int) -> tuple[np.ndarray, np.ndarray]:
        """Fresh examples: float32 `[examples, inputs]`, `[examples]`."""
        blocks = list(self._blocks(_TEST, examples))
        return np.concatenate([x for x, _ in blocks]), np.concatenate([y for _, y in blocks])

    @property
    def digest(self) -> str:
        """What tells this teacher from others."""
        return hashlib.sha256(np.ascontiguousarray(self.network.weights, np.float64).tobytes()).hexdigest()[:16]

    def save(self, path: str) -> None:
        """Writes it to an .npz file."""
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
        """Reads it from an .npz file; `CheckpointError` if it holds none."""
        arrays = load_arrays(path, "teacher")
        network = Committee(arrays["weights"], arrays["outgoing"], str(arrays["nonlinearity"]))
        return cls(network, float(arrays["noise"]), int(arrays["num_data"]), str(arrays["mode"]), int(arrays["seed"]))

    def _blocks(self, stream: int, count: int, first: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in range(first, -(-count // _BLOCK)):
            start = block * _BLOCK
            rng = np.random.default_rng([self.seed, stream, block])
            inputs = rng.standard_normal((min(_BLOCK, count - start), self.network.inputs), dtype=np.float32)
            noise = self.noise * rng.standard_normal(len(inputs))
            yield inputs, (self.network.predict(inputs) + noise).astype(np.float32)
