"""JSON texts as plain values, within limits."""

import json
import os
from collections import Counter
from typing import Any

from tfprune.reading.content import RefusedError, read_text, shown
from tfprune.reading.values import MOST_VALUES, check_values, too_deep, too_many, whole_number


def json_value(text: str | bytes, *, finite: bool = True) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: The text; bytes are UTF-8.
        finite: Whether numbers must be finite. Else `NaN` and `Infinity` are numbers, as Python writes them.

    Returns:
        Dicts, lists, texts, numbers, truth values and None.

    Raises:
        RefusedError: It is no JSON, has a key twice, or is beyond the limits of `tfprune.reading.values`.

    Example:
        >>> json_value('{"keep": [0, 2], "keep": []}')
        Traceback (most recent call last):
            ...
        tfprune.reading.content.RefusedError: it has the key 'keep' twice
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if sum(map(text.count, "[{,")) > MOST_VALUES:  # before any of them takes memory
            raise too_many()
        content = json.loads(text, object_pairs_hook=_members, parse_int=whole_number)
    except RefusedError:
        raise
    except RecursionError as error:
        raise too_deep() from error
    except ValueError as error:
        raise RefusedError(f"it is no JSON: {_words(error)}") from error
    check_values(content, finite=finite)
    return content


def read_json(path: str | os.PathLike[str], *, finite: bool = True) -> Any:
    """Returns the value of a JSON file; to be used within `reading`. Arguments and result as for `json_value`.

    Raises:
        OSError: It cannot be read.
        RefusedError: It is no regular file or too large, or see `json_value`.
        UnicodeDecodeError: It is no text.
    """
    return json_value(read_text(path), finite=finite)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the members of an object."""
    members = dict(pairs)
    if len(members) < len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise RefusedError(f"it has the key {shown(name)} twice")
    return members


def _words(error: ValueError) -> str:
    """Returns where a text stops to be JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}"
    return "not UTF-8"
