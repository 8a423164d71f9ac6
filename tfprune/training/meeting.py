"""Workers wait for each other."""

import json
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from tfprune.cluster import Cluster
from tfprune.errors import ConfigError, WorkerError

_GO = b"go\n"
_RETRY_SECONDS = 0.5


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
