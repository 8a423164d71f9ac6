"""Checkpoints of the authors' code."""

import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.errors import CheckpointError
from tfprune.keras_private import flat_layers, producer
from tfprune.layers import Subnet, refresh_masks, set_density, subnet_layers
from tfprune.recipes.models.torch_file import read_torch_file

_PARTS = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}


def load_original(path: str | os.PathLike[str], model: keras.Model) -> float:
    """Loads weights, scores and statistics of a checkpoint of the authors (`.pth`, `.state`) into a model of ours.

    PyTorch is not needed, and no code in the file is executed. The density comes from the file.

    Args:
        path: The file.
        model: The same architecture from `build_model`, converted to the family `subnet`. Changed.

    Returns:
        The fraction of the weights that the checkpoint keeps.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or belongs to another model.
    """
    path = Path(path)
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"expected a checkpoint with a state_dict, {path} has none; give the authors' own file")
    density = content.get("prune_rate")
    if not isinstance(density, float) or not 0 < density <= 1:
        raise CheckpointError(f"expected a prune_rate in (0, 1] in {path}, found {density!r:.40}; give another file")
    modules = _modules(content["state_dict"], path)
    kernels = [each for each in modules.values() if "scores" in each]
    norms = [each for each in modules.values() if "running_mean" in each]
    layers = sorted(subnet_layers(model), key=_position)
    ours = sorted((x for x in flat_layers(model) if isinstance(x, keras.layers.BatchNormalization)), key=_position)
    if len(layers) != len(kernels) or len(ours) != len(norms):
        raise CheckpointError(
            f"expected {len(layers)} sub-network layers and {len(ours)} batch norms as in {model.name}, {path} has "
            f"{len(kernels)} and {len(norms)}; build the architecture of the file ({content.get('arch')!r:.40})"
        )
    values: list[tuple[keras.Variable, np.ndarray]] = []
    for layer, arrays in zip(layers, kernels, strict=True):
        values += [(layer.kernel, _kernel(layer, arrays["weight"])), (layer.scores, _kernel(layer, arrays["scores"]))]
    for layer, arrays in zip(ours, norms, strict=True):
        values += [
            (getattr(layer, _PARTS[n]), a) for n, a in arrays.items() if getattr(layer, _PARTS[n], None) is not None
        ]
    for variable, array in values:
        if tuple(variable.shape) != array.shape:
            raise CheckpointError(
                f"expected the shape {list(variable.shape)} of {variable.path}, {path} has {list(array.shape)}; build "
                f"the architecture of the file ({content.get('arch')!r:.40})"
            )
    for variable, array in values:
        variable.assign(array)
    set_density(model, density)
    refresh_masks(model)
    return density


def _modules(state: dict[Any, Any], path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns the arrays by module and name, in the order of the file."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise CheckpointError(f"expected tensors by name in {path}, found {key!r:.40}; give another file")
        module, _, name = key.removeprefix("module.").rpartition(".")
        if name != "num_batches_tracked":
            modules.setdefault(module, {})[name] = value
    return modules


def _position(layer: keras.layers.Layer) -> tuple[Any, ...]:
    """Returns a sort key in the authors' order: block by block with the shortcut last, then the classifier."""
    match = re.fullmatch(r"block(\d+)\.(\d+)_(.*)", layer.name)
    if match is None:
        return (9, 9, "") if layer.name == "fc" else (-1, -1, "")
    return int(match[1]), int(match[2]), match[3]


def _kernel(layer: Subnet, array: np.ndarray) -> np.ndarray:
    """Returns an array with its axes in our order."""
    if array.ndim != 4:
        return array
    if len(layer.kernel.shape) == 4:
        return array.transpose(2, 3, 1, 0)
    before: Any = producer(layer.input).operation
    array = array.reshape(array.shape[0], -1)
    if isinstance(before, keras.layers.Flatten):  # PyTorch flattens channels first
        _, height, width, channels = before.input.shape
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape[0], -1)
    return array.T
