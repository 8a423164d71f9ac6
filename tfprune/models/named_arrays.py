"""Weights under the names that EKG's authors give them, put into our network."""

import re
from collections.abc import Mapping

import keras
import numpy as np

from tfprune.errors import CheckpointError, ConfigError
from tfprune.models.registry import build_model, model_plan, recognised, sized_layers

_LAYER = re.compile(r"(?:BasicBlock(\d+\.\d+)/)?((?:conv|bn)\d?|fc)")
_VARIABLES = ("kernel", "biases", "gamma", "beta", "moving_mean", "moving_variance")


def model_from_arrays(
    arrays: Mapping[str, np.ndarray], arch: str, num_classes: int, input_shape: tuple[int, int, int]
) -> keras.Model:
    """A network with the given weights; its widths are those of the kernels, so slimmed ones load as well.

    Args:
        arrays: Names like `BasicBlock1.0/conv3/kernel:0`, `bn/gamma:0` or `fc/biases:0`, with or without anything up
            to `ResNet/` before and `:0` behind. Vectors may have leading axes of length 1.
        arch: The architecture they belong to, one of `model_names()`.
        num_classes: Number of logits they must give.
        input_shape: `(height, width, channels)` of an image.

    Returns:
        The model.

    Raises:
        CheckpointError: Arrays are missing, unknown, of a wrong shape, or belong to another network.
        ConfigError: The architecture is unknown.
    """
    weights = {_variable_path(name): np.asarray(array) for name, array in arrays.items()}
    check_architecture({path.rpartition("/")[0] for path in weights}, arch)
    widths = {
        path.removesuffix("/kernel"): array.shape[3]
        for path, array in weights.items()
        if path.endswith("/kernel") and array.ndim == 4
    }
    _check_ends(weights, num_classes, input_shape)
    try:
        model = build_model(arch, num_classes=num_classes, input_shape=input_shape, widths=widths, seed=0)
    except ConfigError as error:
        raise CheckpointError(f"the kernels do not fit together: {error}") from error
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.variables}
    _check_names(set(weights), set(variables), arch)
    for path, variable in variables.items():
        variable.assign(_shaped(path, weights[path], tuple(variable.shape)))
    return model


def check_architecture(layer_names: set[str], arch: str) -> None:
    """Raises unless these layers are those of the expected architecture.

    Args:
        layer_names: Names of the layers of a checkpoint, in the style of `build_model`.
        arch: The expected architecture.

    Raises:
        CheckpointError: They belong to another one, or to none that is known.
    """
    if set(model_plan(arch).default_widths()) == sized_layers(layer_names):
        return
    found = recognised(layer_names)
    if found is None:
        raise CheckpointError(f"the file holds no complete {arch}: its convolutions are those of no known architecture")
    raise CheckpointError(f"the file is a {found}, expected {arch}; use --arch {found} or another file")


def _variable_path(name: str) -> str:
    """Our `layer/variable` for a name like `ResNet/BasicBlock1.0/conv3/kernel:0`."""
    layer, _, variable = name.rpartition("ResNet/")[2].removesuffix(":0").rpartition("/")
    match = _LAYER.fullmatch(layer)
    if match is None or variable not in _VARIABLES:
        raise CheckpointError(f"expected names like 'BasicBlock1.0/conv3/kernel:0', received {name!r:.60}")
    block, short = match.groups()
    return f"{short if block is None else f'block{block}_{short}'}/{'bias' if variable == 'biases' else variable}"


def _check_ends(weights: Mapping[str, np.ndarray], num_classes: int, input_shape: tuple[int, int, int]) -> None:
    """Checks what the data decides: channels that come in, classes that go out."""
    stem, classifier = weights.get("conv/kernel"), weights.get("fc/kernel")
    if stem is not None and stem.ndim == 4 and stem.shape[2] != input_shape[2]:
        raise CheckpointError(
            f"the file is for images of {stem.shape[2]} channels, expected {input_shape[2]}; "
            "use the data set it was trained on"
        )
    if classifier is not None and classifier.ndim == 2 and classifier.shape[1] != num_classes:
        raise CheckpointError(
            f"the file tells {classifier.shape[1]} classes apart, expected {num_classes}; "
            "use the data set it was trained on"
        )


def _check_names(given: set[str], expected: set[str], arch: str) -> None:
    missing, unknown = sorted(expected - given), sorted(given - expected)
    if missing:
        raise CheckpointError(f"the file lacks {len(missing)} of {len(expected)} arrays of {arch}, first {missing[0]}")
    if unknown:
        raise CheckpointError(f"the file holds {len(unknown)} arrays that {arch} has not, first {unknown[0]}")


def _shaped(path: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array without its leading axes of length 1."""
    extra = array.ndim - len(shape)
    trimmed = array.reshape(array.shape[extra:]) if extra > 0 and set(array.shape[:extra]) == {1} else array
    if trimmed.shape != shape:
        raise CheckpointError(f"expected shape {list(shape)} for {path}, the file has {list(array.shape)}")
    return trimmed
