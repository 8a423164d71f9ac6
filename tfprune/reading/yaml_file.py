"""YAML texts and files of settings as plain values, within limits.

PyYAML only reads what is written where; values are made here. Its own constructors follow merged mappings, odd tags and
aliases wherever these lead.
"""

import os
import re
from collections.abc import Callable
from typing import Any

import yaml

from tfprune.errors import ConfigError, TfpruneError, first_line
from tfprune.reading.content import RefusedError, read_text, reading, shown
from tfprune.reading.values import DEEPEST, check_values, too_deep, too_many, whole_number

LARGEST_YAML = 1 << 18
"""Bytes of the longest YAML file; PyYAML needs a second for 100 kB."""

MOST_YAML_VALUES = 1 << 17
"""Values of a YAML text, those of aliases counted wherever they stand: as many as the longest file has without them."""

_TAGS = "tag:yaml.org,2002:"
_SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text[0] in "tT"),
    "null": (re.compile(r"~|null|Null|NULL|None|"), lambda text: None),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9]*)"), whole_number),
    "float": (
        re.compile(
            r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)"
        ),
        lambda text: float(re.sub(r"\.(?=[iInN])", "", text)),
    ),
    "str": (re.compile(r"(?s:.*)"), str),
}
"""What a scalar of each type looks like, and its value: the types of YAML 1.2."""

_KINDS = {yaml.ScalarNode: _SCALARS, yaml.SequenceNode: ("seq",), yaml.MappingNode: ("map",)}


def read_settings(
    path: str | os.PathLike[str], *, error: type[TfpruneError] = ConfigError, advice: str = "correct the file"
) -> dict[str, Any]:
    """Reads a YAML file of settings.

    Scalars are those of YAML 1.2: `on` is text, `1e-2` is a number. `None` is null.

    Args:
        path: The file.
        error: The type of the error.
        advice: What to do if it cannot be read.

    Returns:
        Values by key; empty for an empty file.

    Raises:
        TfpruneError: The file cannot be read, is too large, is not YAML, contains anything but keys with values, or a
            key twice; of the type `error`.
    """
    with reading(path, "settings as `name: value`", error=error, advice=advice):
        values = yaml_value(read_text(path, LARGEST_YAML))
        if values is None:
            return {}
        if not isinstance(values, dict):
            raise RefusedError(f"received a {'list' if isinstance(values, list) else 'single value'}")
        return values


def yaml_value(text: str) -> Any:
    """Returns the value of a YAML text; scalars as in `read_settings`.

    Aliases are allowed: what they stand for counts wherever they stand.

    Args:
        text: The text.

    Returns:
        Dicts, whose keys are texts, lists, texts, numbers, truth values and None.

    Raises:
        RefusedError: It is no YAML, has a key twice, a tag that is none of YAML 1.2 or does not fit, a key that is no
            scalar, has more values than `MOST_YAML_VALUES`, or is beyond the limits of `tfprune.reading.values`.

    Example:
        >>> yaml_value("seed: !!int abc")
        Traceback (most recent call last):
            ...
        tfprune.reading.content.RefusedError: it has invalid YAML at line 1, column 7: 'abc' is no !!int
    """
    try:
        node = yaml.compose(text, _Loader)
    except RefusedError:
        raise
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        raise RefusedError(f"it has invalid YAML{_place(mark)}: {problem or first_line(error)}") from error
    except RecursionError as error:
        raise too_deep() from error
    except (ValueError, OverflowError) as error:  # of escapes and versions that PyYAML takes as numbers
        raise RefusedError(f"it has invalid YAML: {first_line(error)}") from error
    content = _Values().value(node, 0) if node is not None else None
    check_values(content, finite=False)
    return content


class _Loader(yaml.SafeLoader):
    """A loader that takes plain scalars for those of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (the parent's, emptied: add_implicit_resolver fills it)

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Begins a list or mapping in brackets; PyYAML's time grows with the square of how many are open."""
        if self.flow_level > DEEPEST:
            raise too_deep()
        super().fetch_flow_collection_start(token)


for _name, (_pattern, _) in _SCALARS.items():
    if _name != "str":  # what looks like nothing else
        _Loader.add_implicit_resolver(_TAGS + _name, re.compile(rf"^(?:{_pattern.pattern})$"), None)


class _Values:
    """The values of nodes, which are counted."""

    def __init__(self) -> None:
        self._left = MOST_YAML_VALUES

    def value(self, node: yaml.Node, depth: int) -> Any:
        """Returns what a node within so many others stands for."""
        self._left -= 1
        if self._left < 0:
            raise too_many(MOST_YAML_VALUES)
        if depth > DEEPEST:
            raise too_deep()
        tag = node.tag.removeprefix(_TAGS)
        if tag not in _KINDS[type(node)]:
            raise _refused(node, f"expected no tag, received {shown(node.tag)}")
        if isinstance(node, yaml.ScalarNode):
            pattern, make = _SCALARS[tag]
            if not pattern.fullmatch(node.value):
                raise _refused(node, f"{shown(node.value)} is no !!{tag}")
            return make(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth + 1) for each in node.value]
        members: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused(key, "expected a name as a key, received a list or mapping")
            if key.value in members:
                raise _refused(key, f"{shown(key.value)} appears twice")
            members[key.value] = self.value(value, depth + 1)
        return members


def _refused(node: yaml.Node, problem: str) -> RefusedError:
    return RefusedError(f"it has invalid YAML{_place(node.start_mark)}: {problem}")


def _place(mark: yaml.Mark | None) -> str:
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
