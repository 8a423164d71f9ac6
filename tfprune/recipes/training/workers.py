"""Communication of several processes that train together.

`Workers` gives them common values: sums, and variables and text of the first worker, the chief. `wait_for_all` lets
them connect before TensorFlow does, which waits for a missing worker without end. If a worker stops, the others end
with an error that says so.
"""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

import keras
import numpy as np
import tensorflow as tf

from tfprune.cluster import Cluster
from tfprune.console import silence
from tfprune.errors import ConfigError, WorkerError
from tfprune.reading import RefusedError, json_value, typed

# Errors that TensorFlow raises in a worker after another one stopped.
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
_GREETING_SECONDS = 5.0
_LONGEST_LINE = 1 << 20  # bytes; more comes from no worker


class Workers:
    """The processes of a strategy: one, unless it is a `MultiWorkerMirroredStrategy` on several.

    All workers run the same program. They must call collective operations, and every method here, in the same order.

    Args:
        strategy: Their strategy.

    Attributes:
        count: Number of workers.
        rank: Index of this process.
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
        """Whether this process is the one that writes files and prints."""
        return self._cluster.is_chief

    @property
    def title(self) -> str:
        """Name of this process in messages."""
        return self._cluster.title

    def wait(self) -> None:
        """Waits until all workers have called it.

        Raises:
            WorkerError: Another worker stopped.
        """
        self.total(np.zeros(1, np.int32))

    @contextmanager
    def chief_first(self) -> Iterator[None]:
        """Runs the block on the chief first and then on the other workers, which find the files of the chief.

        Raises:
            WorkerError: Another worker stopped.
        """
        if not self.is_chief:
            self.wait()
        yield
        if self.is_chief:
            self.wait()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Enters the scope of the strategy, in which variables get the values of the chief.

        Raises:
            WorkerError: Another worker stopped.
        """
        with self.lost_workers_reported(), self._strategy.scope():
            yield

    def share_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Assigns the values of the chief to the variables of all workers, bit for bit.

        Args:
            variables: The same ones on each worker.

        Raises:
            WorkerError: Another worker stopped.
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
        """Returns the text of the chief.

        Args:
            text: Text of this worker.

        Raises:
            WorkerError: Another worker stopped.
        """
        content = text.encode()
        size = int(self.total(np.array([len(content) * self.is_chief], np.int32))[0])
        return self._from_chief(content if self.is_chief else bytes(size)).decode()

    def total(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum over all workers.

        Args:
            values: `[n]`, int32.

        Raises:
            WorkerError: Another worker stopped.
        """
        if self.count == 1:
            return values
        with self.lost_workers_reported():
            return self._strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values, tf.int32), axis=None).numpy()

    @contextmanager
    def lost_workers_reported(self) -> Iterator[None]:
        """Turns the errors that TensorFlow raises after another worker stopped into one line for the user.

        Raises:
            WorkerError: Another worker stopped.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise WorkerError(
                f"expected {self.count} workers, lost one of them ({_reason(error)}); start all again with --resume"
            ) from error

    def only_chief_prints(self) -> AbstractContextManager:
        """Drops the output of all workers but the chief while the context lasts."""
        return nullcontext() if self.is_chief else silence()

    def _from_chief(self, content: bytes) -> bytes:
        """Returns the bytes of the chief, as a sum in which those of other workers, equally many, are zeros."""
        words = np.frombuffer(content + bytes(-len(content) % 4), np.int32)
        return self.total(words * np.int32(self.is_chief)).tobytes()[: len(content)]


def _is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _reason(error: tf.errors.OpError) -> str:
    """Returns the reason of an error, without where in the program it was raised."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    reason = next(
        (line for line in lines if "Collective ops is aborted by" in line), lines[0] if lines else "no reason"
    )
    return reason.replace("Collective ops is aborted by: ", "").strip().rstrip(":")


def wait_for_all(cluster: Cluster, minutes: float) -> None:
    """Waits until all workers of a cluster have called it, then frees their ports again.

    TensorFlow waits for workers, too, but without end if one never starts, and without a reaction to Ctrl-C.

    Args:
        cluster: The workers; they connect to the address of the chief.
        minutes: How long to wait.

    Raises:
        ConfigError: The port of this worker is in use, or workers have different lists of addresses.
        WorkerError: Not all workers connected in time.
    """
    deadline = time.monotonic() + 60 * minutes
    with _listener(cluster) as listener:
        if cluster.is_chief:
            _receive_all(cluster, listener, deadline, minutes)
            return
    _connect(cluster, deadline, minutes)


def _listener(cluster: Cluster) -> socket.socket:
    """Returns a socket that listens on the port of this worker."""
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


def _receive_all(cluster: Cluster, listener: socket.socket, deadline: float, minutes: float) -> None:
    """Accepts connections on the chief until all other workers are connected, then answers them."""
    connected: dict[int, socket.socket] = {}
    with ExitStack() as connections:
        while missing := set(range(1, len(cluster.addresses))) - set(connected):
            listener.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                worker = connections.enter_context(listener.accept()[0])
                rank, addresses = _greeting(_line(worker, time.monotonic() + _GREETING_SECONDS), cluster)
            except (OSError, ValueError):  # no connection, or not from a worker
                _check_time(cluster, deadline, minutes, missing=missing)
                continue
            if addresses != list(cluster.addresses):
                with suppress(OSError):
                    worker.sendall(b"other addresses\n")
                raise _different(cluster.addresses, addresses)
            connected = {rank: each for rank, each in {**connected, rank: worker}.items() if _is_waiting(each)}
        for rank, worker in connected.items():
            try:
                worker.sendall(_GO)
            except OSError as error:
                raise WorkerError(
                    f"expected {len(cluster.addresses)} workers, lost worker {rank} ({cluster.addresses[rank]}); start "
                    "all again"
                ) from error


def _greeting(line: bytes, cluster: Cluster) -> tuple[int, list[str]]:
    """Returns the rank and the addresses in what a worker sends first; raises `ValueError` if it is from none."""
    rank, addresses = typed(json_value(line), tuple[int, list[str]])
    if addresses == list(cluster.addresses) and not 0 < rank < len(addresses):
        raise RefusedError(f"it is from worker {rank}")
    return rank, addresses


def _connect(cluster: Cluster, deadline: float, minutes: float) -> None:
    """Connects to the chief, again and again, until it answers that all workers are connected."""
    host, _, port = cluster.addresses[0].rpartition(":")
    message = json.dumps([cluster.rank, cluster.addresses]).encode() + b"\n"
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as chief:
                chief.sendall(message)
                answer = _line(chief, deadline)
        except OSError:
            answer = b""
        if answer == _GO:
            return
        if answer:
            raise _different(cluster.addresses, "others by the chief")
        _check_time(cluster, deadline, minutes, missing={0})
        time.sleep(_RETRY_SECONDS)


def _line(sender: socket.socket, deadline: float) -> bytes:
    """Returns what is received up to the end of a line, or of the connection, or of what a worker would send.

    Raises:
        TimeoutError: It did not arrive before the deadline, a value of `time.monotonic`.
    """
    content = b""
    while not content.endswith(b"\n") and len(content) < _LONGEST_LINE:
        sender.settimeout(max(deadline - time.monotonic(), 0.001))
        part = sender.recv(1 << 16)
        if not part:
            break
        content += part
    return content


def _is_waiting(worker: socket.socket) -> bool:
    """Returns whether a worker is still connected."""
    worker.setblocking(False)
    try:
        return worker.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        worker.settimeout(5)


def _check_time(cluster: Cluster, deadline: float, minutes: float, *, missing: set[int]) -> None:
    """Raises WorkerError after the deadline."""
    if time.monotonic() < deadline:
        return
    names = ", ".join(f"worker {rank} ({cluster.addresses[rank]})" for rank in sorted(missing))
    raise WorkerError(f"expected to meet {names} within {minutes:g} minutes, received no connection; start all workers")


def _different(ours: object, theirs: object) -> ConfigError:
    return ConfigError(
        f"TF_CONFIG: expected the same cluster for all workers, received {ours} and {theirs}; correct it"
    )
