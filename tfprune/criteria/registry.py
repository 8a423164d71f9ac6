"""Criteria by name."""

from collections.abc import Callable
from typing import Any, TypeVar

from tfprune.criteria.base import Criterion
from tfprune.errors import ConfigError

Kind = TypeVar("Kind", bound=type)
_CRITERIA: dict[str, type] = {}


def register(name: str) -> Callable[[Kind], Kind]:
    """Gives a class of criteria a name, so that it can be asked for by that name.

    Args:
        name: The name. Unless the class has attributes `name` and `uses_data`, they are set to it and to `optional`.

    Returns:
        A decorator for a class with a method `scores(model, groups, data)`, see `Criterion`, that can be made without
        arguments.

    Raises:
        ConfigError: The name belongs to another class, or the class has no method `scores`.

    Example:
        >>> import numpy as np
        >>> @register("first")
        ... class First:
        ...     def scores(self, model, groups, data=None):
        ...         return -np.arange(groups.channels, dtype=float)
        >>> get("first").name
        'first'
    """

    def add(kind: Kind) -> Kind:
        if not callable(getattr(kind, "scores", None)):
            raise ConfigError(f"criterion {name!r}: expected a class with a method scores, received {kind!r}")
        known = _CRITERIA.get(name)
        # A class defined anew, as in a notebook, takes its own place; any other one must not.
        if known is not None and _origin(known) != _origin(kind):
            raise ConfigError(f"criterion {name!r} is {known.__qualname__} already; register yours under another name")
        for attribute, value in (("name", name), ("uses_data", "optional")):
            if not hasattr(kind, attribute):
                setattr(kind, attribute, value)
        _CRITERIA[name] = kind
        return kind

    return add


def get(criterion: Any) -> Criterion:
    """The criterion that is meant.

    Args:
        criterion: A name of `names()`, a criterion, or a class of criteria.

    Returns:
        A criterion; one with its default settings for a name or a class.

    Raises:
        ConfigError: There is no such criterion.

    Example:
        >>> get("random").name
        'random'
    """
    if isinstance(criterion, str):
        if criterion not in _CRITERIA:
            raise ConfigError(
                f"expected a criterion of {', '.join(names())}, received {criterion!r}; use one of these, or add it "
                "with tfprune.criteria.register"
            )
        return _CRITERIA[criterion]()
    if not callable(getattr(criterion, "scores", None)):
        raise ConfigError(
            f"expected a criterion's name ({', '.join(names())}) or an object with a method scores, "
            f"received {criterion!r}"
        )
    return criterion() if isinstance(criterion, type) else criterion


def names() -> tuple[str, ...]:
    """The names of all criteria, in alphabetical order."""
    return tuple(sorted(_CRITERIA))


def _origin(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__
