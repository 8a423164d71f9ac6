"""Plain values as objects of declared types: a dataclass says which members there are, of which types and bounds.

msgspec checks types and bounds; nothing is converted from another type, so `true` is no number and `"1"` neither.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from tfprune.reading.content import RefusedError
from tfprune.reprs import short

T = TypeVar("T")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A whole number of at least 0, in 64 bits."""

Size = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A whole number of at least 1, in 64 bits."""

Name = Annotated[str, msgspec.Meta(min_length=1)]
"""A text that is not empty."""


def typed(content: object, kind: type[T]) -> T:
    """Returns what plain values stand for, as an object of a declared type.

    Args:
        content: Dicts, lists, texts, numbers, truth values and None, as JSON has them.
        kind: A dataclass, or a container of such. `__post_init__` may refuse values by a `ValueError` whose message
            begins with the member.

    Raises:
        RefusedError: A member is missing or unknown, or a value has another type or is out of bounds; the message names
            it by its path, such as `groups[3].keep`.

    Example:
        >>> @dataclasses.dataclass
        ... class Row:
        ...     size: Size
        >>> typed([{"size": 3}, {"size": True}], list[Row])
        Traceback (most recent call last):
            ...
        tfprune.reading.content.RefusedError: [1].size: expected int, got bool
    """
    try:
        value = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).rpartition(" - at `$")
        reason, path = (reason, place.rstrip("`").removeprefix(".")) if reason else (place, "")
        if error.__cause__ is not None:  # of `__post_init__`
            raise RefusedError(".".join(filter(None, (path, reason)))) from error
        reason = reason[0].lower() + reason[1:].replace("`", "")
        raise RefusedError(": ".join(filter(None, (path, reason)))) from error
    _check_members(content, value, "")
    return value


def _check_members(content: Any, value: object, path: str) -> None:
    """Raises `RefusedError` if a dict has more members than the dataclass that it stands for."""
    if dataclasses.is_dataclass(value):
        known = {each.name for each in dataclasses.fields(value) if each.init}
        if unknown := [name for name in content if name not in known]:
            where = f"{path}: " if path else ""
            raise RefusedError(f"{where}expected the members {', '.join(sorted(known))}, got {short(unknown[0])}, too")
        for name, each in content.items():
            _check_members(each, getattr(value, name), f"{path}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, each in value.items():
            _check_members(content[name], each, f"{path}[...]")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, (part, each) in enumerate(zip(content, value, strict=False)):
            _check_members(part, each, f"{path}[{index}]")
