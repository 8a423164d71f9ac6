"""Arguments of functions: numbers and switches that users give, as Python's own types, or one line for the user."""

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from tfprune.errors import ConfigError
from tfprune.reprs import described
from tfprune.settings import LARGEST

_LARGEST_SEED = 2**32 - 1  # Keras keeps seeds as uint32

T = TypeVar("T")


def whole_number(name: str, value: Any, *, at_least: int = 1, at_most: int = LARGEST) -> int:
    """Returns a whole number that a user gives; NumPy's are taken, truth values and floats are not.

    Args:
        name: The parameter, for the message.
        value: What is given.
        at_least: The smallest number.
        at_most: The largest number.

    Raises:
        ConfigError: It is no such number.

    Example:
        >>> whole_number("steps", 0)
        Traceback (most recent call last):
            ...
        tfprune.errors.ConfigError: steps: expected a whole number from 1 to 2147483647, received 0 (int)
    """
    try:
        number = None if isinstance(value, bool | np.bool_ | np.ndarray) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not at_least <= number <= at_most:
        raise ConfigError(f"{name}: expected a whole number from {at_least} to {at_most}, received {described(value)}")
    return number


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> float:
    """Returns a finite number that a user gives as a float; NumPy's are taken, truth values and texts are not.

    Args:
        name: The parameter, for the message.
        value: What is given.
        above: Lower bound, excluded.
        at_least: Lower bound, included.
        at_most: Upper bound, included.

    Raises:
        ConfigError: It is no such number.
    """
    known: Any = value if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    try:
        found = float(known)
    except OverflowError:
        found = math.nan
    if (
        not math.isfinite(found)
        or (above is not None and found <= above)
        or (at_least is not None and found < at_least)
        or (at_most is not None and found > at_most)
    ):
        bounds = {"above": above, "of at least": at_least, "at most": at_most}
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
        raise ConfigError(f"{name}: expected a number {words or 'that is finite'}, received {described(value)}")
    return found


def truth(name: str, value: Any) -> bool:
    """Returns a switch that a user gives; raises `ConfigError` unless it is True or False.

    Args:
        name: The parameter, for the message.
        value: What is given.
    """
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name}: expected True or False, received {described(value)}")
    return bool(value)


def optional(check: Callable[..., T], name: str, value: Any, **bounds: Any) -> T | None:
    """Returns None for None, and otherwise what a check of this module returns.

    Args:
        check: The check, such as `number`.
        name: The parameter, for the message.
        value: What is given.
        **bounds: Those of the check.

    Example:
        >>> optional(number, "gain", None, above=0), optional(number, "gain", 2, above=0)
        (None, 2.0)
    """
    return None if value is None else check(name, value, **bounds)


def seed_number(value: Any) -> int:
    """Returns a seed that a user gives; raises `ConfigError` unless it is a whole number from 0 to 2^32 - 1.

    Args:
        value: What is given as `seed`.
    """
    return whole_number("seed", value, at_least=0, at_most=_LARGEST_SEED)
