"""The processes that train together, as the environment variable `TF_CONFIG` names them."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from tfprune.errors import ConfigError

_VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Cluster:
    """Who takes part in a training, and which of them this process is.

    Attributes:
        addresses: `host:port` of each worker; the first is the chief, which alone writes and speaks.
        rank: Position of this process among them.

    Example:
        >>> cluster = Cluster(("a:1", "b:1"), rank=1)
        >>> cluster.is_chief, cluster.title
        (False, 'worker 1 of 2')
    """

    addresses: tuple[str, ...]
    rank: int

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    @property
    def title(self) -> str:
        """What to call this process in messages; workers are counted from 0, as in `TF_CONFIG`."""
        return f"worker {self.rank} of {len(self.addresses)}"

    @classmethod
    def of_environment(cls) -> "Cluster | None":
        """The cluster that `TF_CONFIG` names; None where it is not set, or names none.

        Raises:
            ConfigError: It cannot be used.
        """
        text = os.environ.get(_VARIABLE, "").strip()
        return cls.of_text(text) if text else None

    @classmethod
    def of_text(cls, text: str) -> "Cluster | None":
        """As `of_environment`, for a text like that of the variable.

        TensorFlow itself would take much of what is refused here, and then wait for ever or fail in its own words.
        """
        try:
            config = json.loads(text)
        except ValueError as error:
            raise _wrong("JSON", text) from error
        if not isinstance(config, dict):
            raise _wrong("a JSON object with `cluster` and `task`", text)
        if not config.get("cluster"):
            return None
        addresses = _addresses(config["cluster"])
        return cls(tuple(addresses), _rank(config.get("task"), config["cluster"]))


def _addresses(cluster: Any) -> list[str]:
    """The workers' addresses, the chief's first."""
    if not isinstance(cluster, dict) or not set(cluster) <= {"chief", "worker"}:
        raise _wrong("a `cluster` of `worker` and perhaps `chief` only", cluster)
    for job, members in cluster.items():
        if not isinstance(members, list) or not members or not all(isinstance(member, str) for member in members):
            raise _wrong(f"a list of addresses as `{job}`", members)
    if len(cluster.get("chief", [])) > 1:
        raise _wrong("one chief", cluster["chief"])
    addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
    for address in addresses:
        parts = _ADDRESS.fullmatch(address)
        if not parts or not 0 < int(parts["port"]) < 65536:
            raise _wrong("addresses host:port", address)
    if len(set(addresses)) < len(addresses):
        raise _wrong("an address of its own for each worker", addresses)
    return addresses


def _rank(task: Any, cluster: dict[str, list[str]]) -> int:
    if not isinstance(task, dict) or task.get("type") not in cluster:
        raise _wrong(f"a `task` with the type {' or '.join(cluster)} and an index", task)
    members, index = cluster[task["type"]], task.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(members):
        raise _wrong(f"a task index from 0 to {len(members) - 1}", index)
    return index + (len(cluster.get("chief", [])) if task["type"] == "worker" else 0)


def _wrong(expected: str, received: Any) -> ConfigError:
    received = received if isinstance(received, str) else json.dumps(received)
    return ConfigError(f"{_VARIABLE}: expected {expected}, received {_shortened(received)}; set it like {_EXAMPLE}")


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
