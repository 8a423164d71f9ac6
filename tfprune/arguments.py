"""Arguments of functions: numbers, switches and objects that users give, or one line for the user.

Numbers and switches are returned as Python's own types.
"""

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
    below: float | None = None,
) -> float:
    """Returns a finite number that a user gives as a float; NumPy's are taken, truth values and texts are not.

    Args:
        name: The parameter, for the message.
        value: What is given.
        above: Lower bound, excluded.
        at_least: Lower bound, included.
        at_most: Upper bound, included.
        below: Upper bound, excluded.

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
        or (below is not None and found >= below)
    ):
        bounds = {"above": above, "of at least": at_least, "at most": at_most, "below": below}
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


def instance(name: str, value: T, kind: Any, words: str) -> T:
    """Returns an object that a user gives; raises `ConfigError` unless it is of a class.

    Args:
        name: The parameter, for the message.
        value: What is given.
        kind: The class, or a union of classes.
        words: What it is, such as `a Keras model`.

    Example:
        >>> instance("run", 3, dict, "a dict")
        Traceback (most recent call last):
            ...
        tfprune.errors.ConfigError: run: expected a dict, received 3 (int)
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name}: expected {words}, received {described(value)}")
    return value


def text(name: str, value: Any) -> str:
    """Returns a text that a user gives; raises `ConfigError` if it is something else.

    Args:
        name: The parameter, for the message.
        value: What is given.
    """
    return instance(name, value, str, "a text")


def each_of(check: Callable[..., T], name: str, values: Any, **bounds: Any) -> tuple[T, ...]:
    """Returns a list of values that a user gives, each as a check of this module returns it.

    Args:
        check: The check, such as `number`.
        name: The parameter, for the message.
        values: What is given: a list, tuple, range or array.
        **bounds: Those of the check.

    Raises:
        ConfigError: It is no list, or a value is not as it should be.

    Example:
        >>> each_of(whole_number, "rows", range(2), at_least=0)
        (0, 1)
    """
    if not isinstance(values, list | tuple | range | np.ndarray) or getattr(values, "ndim", 1) == 0:
        raise ConfigError(f"{name}: expected a list of values, received {described(values)}")
    return tuple(check(name, value, **bounds) for value in values)


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


def line_width(value: Any) -> int:
    """Returns the characters per line that a user gives as `width`; raises `ConfigError` unless it is 20 to 1000.

    Args:
        value: What is given.
    """
    return whole_number("width", value, at_least=20, at_most=1000)


def seed_number(value: Any) -> int:
    """Returns a seed that a user gives; raises `ConfigError` unless it is a whole number from 0 to 2^32 - 1.

    Args:
        value: What is given as `seed`.
    """
    return whole_number("seed", value, at_least=0, at_most=_LARGEST_SEED)
