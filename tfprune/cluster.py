"""The processes that train together, as listed in the environment variable `TF_CONFIG`.

`Cluster.from_environment` reads the variable and checks it completely before TensorFlow does: TensorFlow accepts many
wrong values, and then waits without end or fails with an error that does not name the variable.
"""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from tfprune.errors import ConfigError
from tfprune.reading import RefusedError, json_value

_VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Cluster:
    """All workers of a training, and which of them this process is.

    Attributes:
        addresses: `host:port` of each worker. The first worker is the chief: only it writes files and prints.
        rank: Index of this process in `addresses`.

    Example:
        >>> cluster = Cluster(("a:1", "b:1"), rank=1)
        >>> cluster.is_chief, cluster.title
        (False, 'worker 1 of 2')
    """

    addresses: tuple[str, ...]
    rank: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    @property
    def title(self) -> str:
        """Name of this process in messages; workers are counted from 0, as in `TF_CONFIG`."""
        return f"worker {self.rank} of {len(self.addresses)}"

    @classmethod
    def from_environment(cls) -> "Cluster | None":
        """Reads the cluster from `TF_CONFIG`.

        Returns:
            The cluster; None if the variable is not set or contains no cluster.

        Raises:
            ConfigError: The value of the variable is wrong.
        """
        text = os.environ.get(_VARIABLE, "").strip()
        return cls.from_json(text) if text else None

    @classmethod
    def from_json(cls, text: str) -> "Cluster | None":
        """Reads the cluster from a value of `TF_CONFIG`.

        Args:
            text: JSON with `cluster` and `task`.

        Returns:
            The cluster; None if the value contains no cluster.

        Raises:
            ConfigError: The value is wrong.
        """
        try:
            config = json_value(text)
        except RefusedError as error:
            raise _error("JSON", text, f" ({error})") from error
        if not isinstance(config, dict):
            raise _error("a JSON object with `cluster` and `task`", text)
        if not config.get("cluster"):
            return None
        addresses = _addresses(config["cluster"])
        return cls(tuple(addresses), _rank(config.get("task"), config["cluster"]))


def _addresses(cluster: Any) -> list[str]:
    """Returns the addresses of the workers, that of the chief first."""
    if not isinstance(cluster, dict) or not set(cluster) <= {"chief", "worker"}:
        raise _error("a `cluster` of `worker` and perhaps `chief` only", cluster)
    for job, members in cluster.items():
        if not isinstance(members, list) or not members or not all(isinstance(member, str) for member in members):
            raise _error(f"a list of addresses as `{job}`", members)
    if len(cluster.get("chief", [])) > 1:
        raise _error("one chief", cluster["chief"])
    addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
    for address in addresses:
        parts = _ADDRESS.fullmatch(address)
        if not parts or not 0 < int(parts["port"]) < 65536:
            raise _error("addresses host:port", address)
    if len(set(addresses)) < len(addresses):
        raise _error("an address of its own for each worker", addresses)
    return addresses


def _rank(task: Any, cluster: dict[str, list[str]]) -> int:
    """Returns the index of this process among all workers, the chief included."""
    if not isinstance(task, dict) or task.get("type") not in list(cluster):
        raise _error(f"a `task` with the type {' or '.join(cluster)} and an index", task)
    members, index = cluster[task["type"]], task.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(members):
        raise _error(f"a task index from 0 to {len(members) - 1}", index)
    return index + (len(cluster.get("chief", [])) if task["type"] == "worker" else 0)


def _error(expected: str, received: Any, why: str = "") -> ConfigError:
    """Returns an error with what was expected, what was received, and an example."""
    received = received if isinstance(received, str) else json.dumps(received)
    shown = received if len(received) <= 80 else f"{received[:77]}..."
    return ConfigError(f"{_VARIABLE}: expected {expected}, received {shown}{why}; set it like {_EXAMPLE}")
