"""Students: two-layer networks that learn from a teacher by online SGD, one step per example.

`train_student` draws the examples block by block and saves its state beside the result: a stopped training continues
and ends with the same student, bit for bit. A `TrainedStudent` includes the second moments of its training inputs, from
which all kernels and the reweighting follow. `run` is `tfprune dpp student`.
"""

import hashlib
import math
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfprune.dpp import Alignment, Committee, OrderParameters, generalization_error
from tfprune.errors import ConfigError, RunFolderError
from tfprune.locks import Lock
from tfprune.reading import Expected
from tfprune.recipes.dpp.config import StudentConfig
from tfprune.recipes.dpp.files import load_arrays, save_arrays
from tfprune.recipes.dpp.teacher import COMMITTEE, TeacherTask
from tfprune.recipes.training.fit import GracefulInterrupt
from tfprune.reprs import short_repr

SAVE_SECONDS = 20.0
_PROGRESS = "half-trained student"
_MOMENTS = {"moments": Expected(axes="inputs inputs"), "losses": Expected(axes="blocks")}
_ARRAYS = (
    COMMITTEE
    | _MOMENTS
    | {"teacher": Expected("text"), "lr": Expected(least=0), "seed": Expected("whole numbers", least=0)}
)


@dataclass(frozen=True, eq=False)
class TrainedStudent:
    """A student and what it was trained on.

    Attributes:
        network: The student, as trained.
        moments: Second moments of the training inputs, `[inputs, inputs]`: all that kernels and reweighting need.
        losses: Mean of half the squared error over each block of training examples.
        teacher: Digest of its teacher.
        lr: Learning rate.
        seed: Seed of its initial weights.
    """

    network: Committee
    moments: np.ndarray
    losses: np.ndarray
    teacher: str
    lr: float
    seed: int

    __repr__ = short_repr

    def check_teacher(self, task: TeacherTask) -> None:
        """Raises `ConfigError` if the student was trained with another teacher."""
        OrderParameters.from_committees(self.network, task.network)
        if task.digest != self.teacher:
            raise ConfigError(
                "expected the teacher that the student was trained with, received another; check the paths"
            )

    def save(self, path: str) -> None:
        """Writes the student to an .npz file."""
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
        """Reads a student from an .npz file; raises `CheckpointError` if it contains none."""
        arrays = load_arrays(path, "student", _ARRAYS)
        return cls(Committee(*(arrays.pop(name) for name in COMMITTEE)), **arrays)


def run(config: StudentConfig) -> TrainedStudent:
    """Trains a student, writes it to a file, and prints what it has learned.

    Args:
        config: The settings.

    Returns:
        The student.

    Raises:
        TfpruneError: An error the user can fix.
        KeyboardInterrupt: After Ctrl-C, when the state was saved.
    """
    task = TeacherTask.load(config.teacher)
    nonlinearity = config.nonlinearity or task.network.nonlinearity
    if nonlinearity != task.network.nonlinearity:
        print(f"note: the student computes {nonlinearity}, its teacher {task.network.nonlinearity}")
    initial = initial_student(task, config.student_h_size, nonlinearity, config.seed)
    student = train_student(task, initial, lr=config.lr, epochs=config.epochs, seed=config.seed, out=config.out)
    scaled = student.network.normalized()
    error = generalization_error(student.network, task.network)
    print(
        f"{config.out}: generalization error {error:.5f}; with rows of equal length, which is what is pruned, "
        f"{generalization_error(scaled, task.network):.5f} (half the mean squared error, without noise)"
    )
    if warning := Alignment.from_overlaps(OrderParameters.from_committees(scaled, task.network).r).warning():
        print(f"warning: {warning}")
    return student


def initial_student(task: TeacherTask, hidden: int, nonlinearity: str, seed: int) -> Committee:
    """Draws initial weights: standard normal, or N(0, 1/N) for ReLU; v = 1 in a soft committee machine."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(task.network.inputs) if nonlinearity == "relu" else 1.0
    weights = scale * rng.standard_normal((hidden, task.network.inputs))
    outgoing = scale * rng.standard_normal(hidden)
    return Committee(weights, np.ones(hidden) if task.mode == "soft_committee" else outgoing, nonlinearity)


def train_student(
    task: TeacherTask, initial: Committee, *, lr: float, epochs: int, seed: int, out: str | Path
) -> TrainedStudent:
    """Trains a student on the examples in their order and writes it to a file.

    The state is saved beside that file every 20 seconds and at Ctrl-C. From a saved state, the training continues and
    ends with the same student, bit for bit, as an uninterrupted one.

    Args:
        task: The teacher and its examples.
        initial: The student before training.
        lr: Learning rate.
        epochs: Passes over the data.
        seed: Seed of the initial weights, which is recorded.
        out: The .npz file to write.

    Returns:
        The student.

    Raises:
        ConfigError: The training diverged.
        RunFolderError: The saved state belongs to a training with other settings, or another process trains it.
        KeyboardInterrupt: After Ctrl-C, when the block of examples was finished and the state saved.
    """
    out = Path(out)
    with Lock(out.with_suffix(".lock"), out, "wait for its end, or name another --out"):
        progress = _Progress(out.with_suffix(".progress.npz"), _fingerprint(task, initial, lr, epochs), initial)
        state = progress.load()
        if state is None:
            state = _TrainingState.initial(initial)
        else:
            print(f"going on after {len(state.losses)} of {epochs * task.blocks} blocks of examples")
        _train(task, initial.nonlinearity, lr, epochs, state, progress)
        network = replace(initial, weights=state.weights.astype(float), outgoing=state.outgoing.astype(float))
        student = TrainedStudent(network, state.moments / task.num_data, state.losses, task.digest, lr, seed)
        student.save(str(out))
        progress.remove()
    return student


@tf.function(jit_compile=True, autograph=False)
def online_sgd(
    weights: tf.Tensor,
    outgoing: tf.Tensor,
    inputs: tf.Tensor,
    labels: tf.Tensor,
    rate: tf.Tensor,
    nonlinearity: str = "erf",
    train_outgoing: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Takes one SGD step per example, compiled as one loop.

    W_i -= rate / sqrt N (y' - y) v_i g'(h_i) x and v_i -= rate / N (y' - y) g(h_i), both from the old values.

    Args:
        weights: W, float32 `[hidden, inputs]`.
        outgoing: v, `[hidden]`.
        inputs: `[examples, inputs]`.
        labels: `[examples]`.
        rate: Learning rate.
        nonlinearity: `erf`, `sigmoid` or `relu`.
        train_outgoing: Whether v learns; it does not in a soft committee machine.

    Returns:
        W, v, and the mean of half the squared errors before each step.

    Reference:
        Goldt et al., Dynamics of stochastic gradient descent (NeurIPS 2019), equation 2.
    """
    size = weights.shape[1]
    root = tf.constant(math.sqrt(size), tf.float32)

    def step(i: tf.Tensor, w: tf.Tensor, v: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = inputs[i]
        fields = tf.linalg.matvec(w, x) / root
        signal, slope = _signal(fields, nonlinearity)
        error = tf.reduce_sum(v * signal) - labels[i]
        new = w - (rate / root * error) * (v * slope)[:, None] * x[None, :]
        if train_outgoing:
            v -= (rate / size * error) * signal
        return i + 1, new, v, total + error * error / 2

    count = tf.shape(inputs)[0]
    _, weights, outgoing, total = tf.while_loop(lambda i, *_: i < count, step, [0, weights, outgoing, 0.0])
    return weights, outgoing, total / tf.cast(count, tf.float32)


def _signal(fields: tf.Tensor, nonlinearity: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the activation and its slope."""
    if nonlinearity == "relu":
        return tf.nn.relu(fields), tf.cast(fields > 0, tf.float32)
    if nonlinearity == "sigmoid":
        signal = tf.sigmoid(fields)
        return signal, signal * (1 - signal)
    return tf.math.erf(fields / math.sqrt(2)), math.sqrt(2 / math.pi) * tf.exp(-tf.square(fields) / 2)


@dataclass
class _TrainingState:
    """Everything that the rest of a training depends on.

    Attributes:
        weights: W, float32 `[hidden, inputs]`.
        outgoing: v, float32 `[hidden]`.
        moments: Sum of x x' over the training inputs seen in the first epoch, `[inputs, inputs]`.
        losses: Mean of half the squared error over each block of examples so far.
    """

    weights: np.ndarray
    outgoing: np.ndarray
    moments: np.ndarray
    losses: np.ndarray

    @classmethod
    def initial(cls, student: Committee) -> "_TrainingState":
        """Returns the state before the first example."""
        weights, outgoing = student.weights.astype(np.float32), student.outgoing.astype(np.float32)
        return cls(weights, outgoing, np.zeros((student.inputs, student.inputs)), np.zeros(0))


class _Progress:
    """The file with the state of an unfinished training."""

    def __init__(self, path: Path, fingerprint: str, initial: Committee) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._lengths = {"hidden": initial.hidden, "inputs": initial.inputs}

    def load(self) -> _TrainingState | None:
        """Reads the state that was saved last; None if there is none, `RunFolderError` if it is of another training."""
        if not self._path.exists():
            return None
        found = load_arrays(self._path, _PROGRESS, {"fingerprint": Expected("text")})
        if found["fingerprint"] != self._fingerprint:
            raise RunFolderError(
                f"{self._path} contains half a training with other settings or another teacher; use those to continue "
                "it, remove it to start again, or name another --out"
            )
        network = {name: COMMITTEE[name] for name in ("weights", "outgoing")}
        return _TrainingState(**load_arrays(self._path, _PROGRESS, network | _MOMENTS, self._lengths))

    def save(self, state: _TrainingState) -> None:
        """Replaces the saved state."""
        arrays = dict(zip(_TrainingState.__annotations__, astuple(state), strict=True))
        save_arrays(self._path, _PROGRESS, arrays | {"fingerprint": self._fingerprint})

    def remove(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)


def _fingerprint(task: TeacherTask, initial: Committee, lr: float, epochs: int) -> str:
    """Returns a digest of all that a training depends on: data, student, learning rate and length."""
    settings = (task.noise, task.num_data, task.mode, task.seed, task.network.nonlinearity, initial.nonlinearity)
    digest = hashlib.sha256(repr((*settings, initial.weights.shape, float(lr), epochs)).encode())
    for array in (task.network.weights, task.network.outgoing, initial.weights, initial.outgoing):
        digest.update(np.ascontiguousarray(array, np.float64).tobytes())
    return digest.hexdigest()[:32]


def _train(
    task: TeacherTask, nonlinearity: str, lr: float, epochs: int, state: _TrainingState, progress: _Progress
) -> None:
    """Trains from a state to the end, and saves it now and then."""
    saved = time.monotonic()
    first, start = divmod(len(state.losses), task.blocks)
    seen = first * task.num_data + task.examples_before(start)
    bar = tqdm(total=epochs * task.num_data, initial=seen, desc="student", unit="ex", unit_scale=True, disable=None)
    with GracefulInterrupt() as interrupt, bar:
        for epoch in range(first, epochs):
            for inputs, labels in task.training(start if epoch == first else 0):
                _learn_block(task, nonlinearity, lr, state, inputs, labels, bar.n)
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


def _learn_block(
    task: TeacherTask,
    nonlinearity: str,
    lr: float,
    state: _TrainingState,
    inputs: np.ndarray,
    labels: np.ndarray,
    seen: float,
) -> None:
    """Takes a step for each example of a block."""
    weights, outgoing, loss = online_sgd(
        state.weights, state.outgoing, inputs, labels, tf.constant(lr), nonlinearity, task.mode == "normal"
    )
    if not np.isfinite(loss):
        raise ConfigError(f"the training diverged at example {seen:,}; lower --lr")
    state.weights, state.outgoing = weights.numpy(), outgoing.numpy()
    state.losses = np.append(state.losses, float(loss))
