"""Which variables an optimizer trains by their signs."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras

from tfprune.errors import ConfigError


def sign_trained_variables(variables: Sequence[keras.Variable], patterns: Sequence[str] | None) -> list[bool]:
    """Decides for each variable whether its sign is trained.

    Args:
        variables: Trainable variables of a model.
        patterns: Of variable paths, as `fnmatch` reads them (`"*/kernel"`, `"block1.*"`); None takes the kernels of
            masked layers, which carry the mark `masked`.

    Returns:
        A bool for each variable.

    Raises:
        ConfigError: If a pattern matches nothing, or no variable is left.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="fc")])
        >>> sign_trained_variables(model.trainable_variables, ["*/kernel"])
        [True, False]
    """
    if patterns is None:
        marked = [bool(getattr(variable, "masked", False)) for variable in variables]
        if not any(marked):
            raise ConfigError(
                f"sign_trained: expected kernels of masked layers among {_some_paths(variables)}, received none; "
                'convert the model to masked layers, or name the variables, as in sign_trained=["*/kernel"]'
            )
        return marked
    for pattern in patterns:
        if not any(fnmatchcase(variable.path, pattern) for variable in variables):
            raise ConfigError(
                f"sign_trained: expected patterns of variable paths, received {pattern!r}, which matches none of "
                f"{_some_paths(variables)}; mind that a path holds the names of model, layer and variable"
            )
    return [any(fnmatchcase(variable.path, pattern) for pattern in patterns) for variable in variables]


def _some_paths(variables: Sequence[keras.Variable]) -> str:
    paths = [variable.path for variable in variables]
    return ", ".join(paths[:3]) + (f", ... ({len(paths)} variables)" if len(paths) > 3 else "")
