"""What several processes that train together say to each other."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from tfprune.cluster import Cluster
from tfprune.errors import WorkerError
from tfprune.silence import silence

# What TensorFlow raises in one worker when another one is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class Workers:
    """The processes of a strategy: one, unless it is a `MultiWorkerMirroredStrategy` on several.

    All of them run the same program. What they compute together, and every method here, they must call in the same
    order.

    Args:
        strategy: Theirs.

    Attributes:
        count: How many there are.
        rank: Which of them this process is.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        resolver = strategy.cluster_resolver if _is_multi_worker(strategy) else None
        addresses = resolver.cluster_spec().as_dict().get("worker", [""]) if resolver else [""]
        self._cluster = Cluster(tuple(addresses), rank=resolver.task_id if resolver else 0)
        self.count = len(addresses)
        self.rank = self._cluster.rank

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self._cluster.is_chief

    @property
    def title(self) -> str:
        """What to call this process in messages."""
        return self._cluster.title

    def wait(self) -> None:
        """Returns when all workers have come here.

        Raises:
            WorkerError: One of them is gone.
        """
        self.total(np.zeros(1, np.int32))

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """The chief does what is inside while the others wait; then they do it, and find the files that it has left.

        Raises:
            WorkerError: Another worker is gone.
        """
        if not self.is_chief:
            self.wait()
        yield
        if self.is_chief:
            self.wait()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """The strategy's scope. Variables that are made in it get the chief's values.

        Raises:
            WorkerError: Another worker is gone.
        """
        with self.failures_named(), self._strategy.scope():
            yield

    def share_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Gives all workers the chief's values, bit for bit.

        Raises:
            WorkerError: Another worker is gone.
        """
        if self.count == 1 or not variables:
            return
        values = [np.asarray(tf.convert_to_tensor(variable.value)) for variable in variables]
        content = self._from_chief(b"".join(value.tobytes() for value in values))
        place = 0
        for variable, value in zip(variables, values, strict=True):
            received = np.frombuffer(content, value.dtype, value.size, place)
            variable.assign(received.reshape(value.shape))
            place += value.nbytes

    def share_text(self, text: str) -> str:
        """The chief's text.

        Raises:
            WorkerError: Another worker is gone.
        """
        content = text.encode()
        size = int(self.total(np.array([len(content) * self.is_chief], np.int32))[0])
        return self._from_chief(content if self.is_chief else bytes(size)).decode()

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of what all workers give, int32 `[n]`.

        Raises:
            WorkerError: Another worker is gone.
        """
        if self.count == 1:
            return values
        with self.failures_named():
            return self._strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values, tf.int32), axis=None).numpy()

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """Says of an error that another worker is gone, and of any other one whose it is.

        Raises:
            WorkerError: In place of what TensorFlow raises where another worker is gone.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise WorkerError(
                f"expected {self.count} workers, lost one of them ({_first_line(error)}); start all again with --resume"
            ) from error

    def only_chief_speaks(self) -> AbstractContextManager:
        """Inside, other workers print nothing."""
        return nullcontext() if self.is_chief else silence()

    def _from_chief(self, content: bytes) -> bytes:
        """The chief's bytes, of as many from all: theirs count as zeros of a sum."""
        words = np.frombuffer(content + bytes(-len(content) % 4), np.int32)
        return self.total(words * np.int32(self.is_chief)).tobytes()[: len(content)]


def _is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _first_line(error: tf.errors.OpError) -> str:
    """What happened, without the place in the program at which it was noticed."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    told = next((line for line in lines if "Collective ops is aborted by" in line), lines[0] if lines else "no reason")
    return told.replace("Collective ops is aborted by: ", "").strip().rstrip(":")
