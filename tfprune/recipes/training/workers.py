"""What several processes that train together say to each other."""

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from tfprune.cluster import Cluster
from tfprune.console import silence
from tfprune.errors import ConfigError, WorkerError

# What TensorFlow raises in one worker when another one is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
_GO = b"go\n"
_RETRY_SECONDS = 0.5


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


def meet(cluster: Cluster, minutes: float) -> None:
    """Returns when all workers of a cluster have called it, which frees their ports again.

    TensorFlow waits for workers, too, but where one never comes it does so for ever, deaf even to Ctrl-C.

    Args:
        cluster: Those who meet, at the chief's address.
        minutes: How long to wait.

    Raises:
        ConfigError: This worker's port is taken, or workers have different cluster lists.
        WorkerError: Not all came.
    """
    deadline = time.monotonic() + 60 * minutes
    with _listener(cluster) as listener:
        if cluster.is_chief:
            _receive(cluster, listener, deadline, minutes)
            return
    _report(cluster, deadline, minutes)


def _listener(cluster: Cluster) -> socket.socket:
    host, _, port = cluster.addresses[cluster.rank].rpartition(":")
    listener = socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", int(port)))
        listener.listen(len(cluster.addresses))
    except OSError as error:
        listener.close()
        raise ConfigError(f"TF_CONFIG: cannot serve on port {port}: {error.strerror}; give it another port") from error
    return listener


def _receive(cluster: Cluster, listener: socket.socket, deadline: float, minutes: float) -> None:
    """The chief's part: takes in the others, and sends them on when all are there."""
    came: dict[int, socket.socket] = {}
    with ExitStack() as visitors:
        while missing := set(range(1, len(cluster.addresses))) - set(came):
            listener.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                visitor = visitors.enter_context(listener.accept()[0])
                visitor.settimeout(5)
                rank, addresses = json.loads(_line(visitor.recv))
            except (OSError, ValueError, TypeError):  # nobody came, or somebody else
                _check_time(cluster, deadline, minutes, missing=missing)
                continue
            if addresses != list(cluster.addresses):
                visitor.sendall(b"other addresses\n")
                raise _different(cluster.addresses, addresses)
            came = {rank: each for rank, each in {**came, rank: visitor}.items() if _is_there(each)}
        for visitor in came.values():
            visitor.sendall(_GO)


def _report(cluster: Cluster, deadline: float, minutes: float) -> None:
    """The part of the others: go to the chief until it says that all are there."""
    host, _, port = cluster.addresses[0].rpartition(":")
    message = json.dumps([cluster.rank, cluster.addresses]).encode() + b"\n"
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as chief:
                chief.sendall(message)
                chief.settimeout(max(deadline - time.monotonic(), 0.001))
                answer = _line(chief.recv)
        except OSError:
            answer = b""
        if answer == _GO:
            return
        if answer:
            raise _different(cluster.addresses, "others by the chief")
        _check_time(cluster, deadline, minutes, missing={0})
        time.sleep(_RETRY_SECONDS)


def _line(receive: Callable[[int], bytes]) -> bytes:
    """All up to the end of a line, or of what is sent."""
    content = b""
    while not content.endswith(b"\n") and (part := receive(4096)):
        content += part
    return content


def _is_there(visitor: socket.socket) -> bool:
    """Whether a worker that has come is still waiting."""
    visitor.setblocking(False)
    try:
        return visitor.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        visitor.settimeout(5)


def _check_time(cluster: Cluster, deadline: float, minutes: float, *, missing: set[int]) -> None:
    if time.monotonic() < deadline:
        return
    names = ", ".join(f"worker {rank} ({cluster.addresses[rank]})" for rank in sorted(missing))
    raise WorkerError(f"expected to meet {names} within {minutes:g} minutes, received no word of it; start all workers")


def _different(ours: object, theirs: object) -> ConfigError:
    return ConfigError(f"TF_CONFIG: expected the same cluster for all workers, received {ours} and {theirs}; mend it")
