"""What a text may describe: plain values within limits, whatever notation it is written in."""

import math
from typing import Any

from tfprune.reading.content import RefusedError, shown

DEEPEST = 100
"""Lists and mappings within each other."""

MOST_VALUES = 1 << 20
"""Values of a text."""

MOST_DIGITS = 1_000
"""Digits of a whole number."""


def too_deep() -> RefusedError:
    """Returns the error for values in more than `DEEPEST` lists and mappings."""
    return RefusedError(f"it is nested more than {DEEPEST} levels deep, or contains itself")


def too_many(most: int = MOST_VALUES) -> RefusedError:
    """Returns the error for more values than there may be."""
    return RefusedError(f"it has more than {most:,} values")


def whole_number(text: str) -> int:
    """Returns the whole number that a text is.

    Raises:
        RefusedError: It has more than `MOST_DIGITS` digits; the time that Python takes grows with their square.
        ValueError: It is no number.
    """
    if len(text) > MOST_DIGITS:
        raise RefusedError(f"it has a whole number of {len(text):,} digits, where {MOST_DIGITS:,} are the most")
    return int(text)


def check_values(content: Any, *, finite: bool) -> None:
    """Checks dicts, lists and what they hold against the limits.

    Args:
        content: The values, of which none contains itself.
        finite: Whether numbers must be finite.

    Raises:
        RefusedError: They are too many, nested too deeply, not finite, or texts that no file and no terminal takes.

    Example:
        >>> check_values({"loss": [1.0, math.inf]}, finite=True)
        Traceback (most recent call last):
            ...
        tfprune.reading.content.RefusedError: it has the number inf, where finite ones were expected
    """
    level, depth, count = [content], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > DEEPEST + 1:
            raise too_deep()
        if count > MOST_VALUES:
            raise too_many()
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str):
                _check_text(value)
            elif finite and isinstance(value, float) and not math.isfinite(value):
                raise RefusedError(f"it has the number {value}, where finite ones were expected")
        level = inner


def _check_text(text: str) -> None:
    """Raises RefusedError if a text has parts of characters, or the one that ends the names of files."""
    if "\0" in text:
        raise RefusedError(f"its text {shown(text)} has a NUL character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RefusedError(f"its text {shown(text)} has half of a character") from error
