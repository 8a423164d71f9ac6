"""Arguments of functions: numbers and switches that users give, as Python's own types, or one line for the user."""

import operator
from typing import Any

import numpy as np

from tfprune.errors import ConfigError
from tfprune.reprs import described

_LARGEST = 2**31 - 1


def whole_number(name: str, value: Any, *, at_least: int = 1, at_most: int = _LARGEST) -> int:
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


def truth(name: str, value: Any) -> bool:
    """Returns a switch that a user gives; raises `ConfigError` unless it is True or False.

    Args:
        name: The parameter, for the message.
        value: What is given.
    """
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name}: expected True or False, received {described(value)}")
    return bool(value)
