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

    The scalars are those of YAML 1.2: `on` is a text, `1e-2` is a number. `None` is null.

    Args:
        path: The file.

    Returns:
        From key to value; empty for an empty file.

    Raises:
        ConfigError: The file cannot be read, is no YAML, holds something else than keys with values, or a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: it is no text file; name a YAML file of settings") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; name a YAML file of settings") from error
    try:
        values = load_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML{_where(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings as `name: value`, received a {_kind(values)}")
    return {str(key): value for key, value in values.items()}


def load_yaml(text: str) -> Any:
    """The value of a YAML text; its scalars are those of `read_settings`."""
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars, and no key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (the parent's, emptied: add_implicit_resolver fills it)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping, refused if a key comes twice."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands there twice", key.start_mark)
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
