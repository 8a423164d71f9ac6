"""Criteria for weights by name."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from tfprune.criteria.weights.base import WeightCriterion
from tfprune.errors import ConfigError

Kind = TypeVar("Kind", bound=type[WeightCriterion])
_CRITERIA: dict[str, type[WeightCriterion]] = {}


def register_weight_criterion(name: str) -> Callable[[Kind], Kind]:
    """Gives a class of criteria for weights a name, so that it can be asked for by that name.

    Args:
        name: The name.

    Returns:
        A decorator for a subclass of `WeightCriterion`.

    Raises:
        ConfigError: The name belongs to another class, or the class is none of criteria for weights.
    """

    def add(kind: Kind) -> Kind:
        if not (isinstance(kind, type) and issubclass(kind, WeightCriterion)):
            raise ConfigError(f"weight criterion {name!r}: expected a subclass of WeightCriterion, received {kind!r}")
        known = _CRITERIA.get(name)
        # A class defined anew, as in a notebook, takes its own place; any other one must not.
        if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ConfigError(f"weight criterion {name!r} is {known.__qualname__} already; take another name")
        kind.name = name
        _CRITERIA[name] = kind
        return kind

    return add


def weight_criterion(name: str, **settings: Any) -> WeightCriterion:
    """Makes a criterion for weights.

    Args:
        name: One of `weight_names()`.
        **settings: Its fields.

    Returns:
        The criterion.

    Raises:
        ConfigError: There is no such criterion, or it has no such setting.

    Example:
        >>> weight_criterion("magnitude", scope="local")
        Magnitude(iterations=1, schedule='exponential', scope='local', ignore=(), original_ties=False, revive=False)
    """
    if name not in _CRITERIA:
        raise ConfigError(
            f"expected a criterion for weights of {', '.join(weight_names())}, received {name!r}; use one of these"
        )
    kind = _CRITERIA[name]
    unknown = sorted(set(settings) - {field.name for field in fields(kind)})
    if unknown:
        known = ", ".join(field.name for field in fields(kind))
        raise ConfigError(f"criterion {name}: expected settings of {known}, received {unknown[0]}; leave it out")
    return kind(**settings)


def weight_names() -> tuple[str, ...]:
    """The names of all criteria for weights, in alphabetical order."""
    return tuple(sorted(_CRITERIA))
