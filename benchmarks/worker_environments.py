"""How processes on this machine are told that they are the workers of one training."""

import json
import os
import socket
from contextlib import ExitStack


def worker_environments(count: int) -> list[dict[str, str]]:
    """The environment of each worker; of one alone that of a process without others."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        {**os.environ, "TF_CONFIG": _task(addresses, rank) if count > 1 else "{}", "OMP_NUM_THREADS": "1"}
        for rank in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on; all are open at once, so they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _task(addresses: list[str], rank: int) -> str:
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})
