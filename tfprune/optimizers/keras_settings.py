"""Arguments that all Keras optimizers take, checked: Keras takes most values, and fails in the first step."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tfprune.arguments import number, optional, truth, whole_number
from tfprune.errors import ConfigError
from tfprune.reprs import described


def _rate(name: str, value: Any) -> Any:
    return value if callable(value) else number(name, value, at_least=0)


def _text(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value.isprintable()):
        raise ConfigError(f"{name}: expected a text of one line or None, received {described(value)}")
    return value


_above_0 = partial(optional, number, above=0)
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "learning_rate": _rate,
    "weight_decay": partial(optional, number, at_least=0),
    "clipnorm": _above_0,
    "clipvalue": _above_0,
    "global_clipnorm": _above_0,
    "use_ema": truth,
    "ema_momentum": partial(number, at_least=0, at_most=1),
    "ema_overwrite_frequency": partial(optional, whole_number),
    "loss_scale_factor": _above_0,
    "gradient_accumulation_steps": partial(optional, whole_number, at_least=2),
    "name": _text,
}


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a Keras optimizer as Python's own types; names that are not common stay as they are.

    Args:
        settings: Arguments by name, such as `learning_rate`: a number of at least 0, a schedule or another function.

    Raises:
        ConfigError: One is of another type, or out of its range.
    """
    return {name: _CHECKS[name](name, value) if name in _CHECKS else value for name, value in settings.items()}
