"""Settings from a YAML file."""

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from tfprune.errors import ConfigError


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a YAML file of settings.

    Scalars are those of YAML 1.2: `on` is text, `1e-2` is a number. `None` is null.

    Args:
        path: The file.

    Returns:
        Values by key; empty for an empty file.

    Raises:
        ConfigError: The file cannot be read, is not YAML, contains anything but keys with values, or a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is not a text file; name a YAML file of settings") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name a YAML file of settings") from error
    try:
        values = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: invalid YAML{_where(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings as `name: value`, received a {_kind(values)}")
    return {str(key): value for key, value in values.items()}


def load_yaml(text: str) -> Any:
    """Returns the value of a YAML text; scalars as in `read_settings`."""
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """A loader with the scalars of YAML 1.2, and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (the parent's, emptied: add_implicit_resolver fills it)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Returns a mapping; raises an error if a key appears twice."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|None|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return place + (f": {problem}" if problem else "")


def _kind(value: object) -> str:
    return {"list": "list", "str": "text"}.get(type(value).__name__, "single value")
