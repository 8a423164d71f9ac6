"""Checkpoints of the authors' code: what they say about their models, and their weights in models of ours."""

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.arguments import instance, number, optional
from tfprune.errors import CheckpointError
from tfprune.files import as_path
from tfprune.keras_private import flat_layers, producer
from tfprune.layers import Subnet, refresh_masks, set_density, subnet_layers
from tfprune.reading import RefusedError, check_weights, reading, shown
from tfprune.reading.torch_file import read_torch_file

SUFFIXES = (".pth", ".pt", ".state", ".tar")
_PARTS = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}
_UNTRAINED = {"weight": 1, "bias": 0}
_SCOPES = {"SubnetConv": "layer", "GlobalSubnetConv": "global", "DenseConv": None}
_BINARY = "BinAct"  # in the names of architectures with binary activations; some have them without it


class OldCheckpointWarning(UserWarning):
    """A checkpoint does not say how its masks are selected, as those from before February 2022."""

    def __init__(self, path: Path, flags: list[str]) -> None:
        super().__init__(
            f"{path} does not say how its masks are selected, as files from before February 2022: "
            f"{' and '.join(flags)} must be those that it was trained with"
        )


@dataclass(frozen=True)
class OriginalCheckpoint:
    """A checkpoint of the authors' code.

    Attributes:
        path: The file.
        modules: Arrays by module and name, in the order of the file.
        arch: The authors' name of the architecture; empty if the file has none.
        kind: The authors' type of its layers, such as `SubnetConv`; None in files from before February 2022.
        density: Fraction of the weights that it keeps; None where the file does not say.
    """

    path: Path
    modules: Mapping[str, Mapping[str, np.ndarray]] = field(repr=False)
    arch: str
    kind: str | None
    density: float | None

    @property
    def kernels(self) -> list[Mapping[str, np.ndarray]]:
        """The arrays of each convolution and dense layer."""
        return [arrays for arrays in self.modules.values() if "running_mean" not in arrays]

    @property
    def norms(self) -> list[Mapping[str, np.ndarray]]:
        """The arrays of each batch norm."""
        return [arrays for arrays in self.modules.values() if "running_mean" in arrays]

    @property
    def settings(self) -> dict[str, Any]:
        """What the file says about its model, as settings of `MultiPrizeConfig`."""
        scored = ["scores" in arrays for arrays in self.kernels]
        affine = any("weight" in arrays for arrays in self.norms)
        found: dict[str, Any] = {"batch_norm": "affine" if affine else "fixed"}
        if _BINARY in self.arch:
            found["binary_activations"] = True
        if not any(scored):
            return found | {"dense": True}
        found |= {"first_layer_dense": not scored[0], "last_layer_dense": not scored[-1]}
        scope = None if self.kind is None else _SCOPES[self.kind]
        return found | ({} if scope is None else {"scope": scope, "selection": "top"})


def read_original(path: str | os.PathLike[str]) -> OriginalCheckpoint:
    """Reads a checkpoint of the authors (`.pth`, `.state`). PyTorch is not needed, and no code in the file is executed.

    Args:
        path: The file.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or something else.
    """
    path = as_path(path)
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"expected a checkpoint with a state_dict, {path} has none; give the authors' own file")
    arch, kind, density = (content.get(name) for name in ("arch", "conv_type", "prune_rate"))
    if kind is not None and (not isinstance(kind, str) or kind not in _SCOPES):
        raise CheckpointError(
            f"expected the conv_type {', '.join(_SCOPES)} or none, {path} has {shown(kind)}; give another file"
        )
    if density is not None and (isinstance(density, bool) or not isinstance(density, int | float)):
        raise CheckpointError(f"expected a number as prune_rate in {path}, found {shown(density)}; give another file")
    with reading(path, "a checkpoint of the authors", advice="give another file"):
        modules = _modules(content["state_dict"], path)
    return OriginalCheckpoint(path, modules, arch if isinstance(arch, str) else "", kind, density)


def load_original(
    original: str | os.PathLike[str] | OriginalCheckpoint, model: keras.Model, *, density: float | None = None
) -> float:
    """Loads weights, scores and statistics of a checkpoint of the authors into a model of ours.

    Args:
        original: The file, or what `read_original` returned.
        model: The same architecture from `build_model`, converted to the family `subnet`. Changed.
        density: Fraction of the weights to keep. Default: that of the file; those from before February 2022 have none.

    Returns:
        The fraction of the weights that the model keeps.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, belongs to another model, or does not say how much it
            keeps.
    """
    instance("model", model, keras.Model, "a Keras model")
    density = optional(number, "density", density, above=0, at_most=1)
    if not isinstance(original, OriginalCheckpoint):
        original = read_original(original)
    if subnet_layers(model):
        density = _density(original, density)
        _warn(original)
    with reading(original.path, f"the weights of {model.name}"):
        values = _values(original, model)
    for variable, array in values:
        variable.assign(array)
    if density is None or not subnet_layers(model):
        return 1.0
    set_density(model, density)
    refresh_masks(model)
    return density


def _density(original: OriginalCheckpoint, given: float | None) -> float:
    """Returns the density that is given, or that of the file."""
    found = original.density if given is None else given
    if found is None:
        raise CheckpointError(
            f"{original.path} does not say how many weights it keeps, as files from before February 2022; give the "
            "fraction that it was trained with by --density"
        )
    if not 0 < found <= 1:
        raise CheckpointError(
            f"expected a prune_rate in (0, 1] in {original.path}, found {shown(found)}; give the fraction to keep by "
            "--density"
        )
    return float(found)


def _warn(original: OriginalCheckpoint) -> None:
    """Warns of what an old file does not say."""
    said = {"--density": original.density, "--scope": original.kind}
    if missing := [flag for flag, value in said.items() if value is None]:
        warnings.warn(OldCheckpointWarning(original.path, missing), stacklevel=3)


def _values(original: OriginalCheckpoint, model: keras.Model) -> list[tuple[keras.Variable, np.ndarray]]:
    """Returns each variable with its array."""
    path, architecture = original.path, f"build the architecture of the file ({original.arch!r:.40})"
    kernels, norms = original.kernels, original.norms
    layers = sorted((layer for layer in flat_layers(model) if hasattr(layer, "kernel")), key=_position)
    ours = sorted((x for x in flat_layers(model) if isinstance(x, keras.layers.BatchNormalization)), key=_position)
    scored = [isinstance(layer, Subnet) for layer in layers]
    theirs = ["scores" in arrays for arrays in kernels]
    if (sum(scored), len(ours)) != (sum(theirs), len(norms)):
        raise CheckpointError(
            f"expected {sum(scored)} sub-network layers and {len(ours)} batch norms as in {model.name}, {path} has "
            f"{sum(theirs)} and {len(norms)}; {architecture}"
        )
    if scored != theirs:
        raise CheckpointError(
            f"expected {len(layers)} layers with weights as in {model.name}, {path} has {len(kernels)}, or others of "
            f"them are sub-network layers; {architecture}"
        )
    values: list[tuple[keras.Variable, np.ndarray]] = []
    for layer, arrays in zip(layers, kernels, strict=True):
        for name, array in arrays.items():
            values.append(_variable(layer, {"weight": "kernel"}.get(name, name), _kernel(layer, array), path))
    for layer, arrays in zip(ours, norms, strict=True):
        for name, array in arrays.items():
            part = _PARTS.get(name, name)
            if getattr(layer, part, None) is not None or not (array == _UNTRAINED.get(name)).all():
                values.append(_variable(layer, part, array, path))
    for variable, array in values:
        if tuple(variable.shape) != array.shape:
            raise CheckpointError(
                f"expected the shape {list(variable.shape)} of {variable.path}, {path} has {list(array.shape)}; "
                f"{architecture}"
            )
    return values


def _variable(layer: keras.layers.Layer, name: str, array: np.ndarray, path: Path) -> tuple[keras.Variable, np.ndarray]:
    """Returns a variable of a layer with its array."""
    variable = getattr(layer, name, None)
    if not isinstance(variable, keras.Variable):
        raise CheckpointError(
            f"expected no {name:.20} of {layer.name}, {path} has one that was trained; build the model of the file"
        )
    return variable, array


def _modules(state: dict[Any, Any], path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns the arrays by module and name, in the order of the file."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise CheckpointError(f"expected tensors by name in {path}, found {shown(key)}; give another file")
        if not value.size:
            raise RefusedError(f"its array {shown(key)} is empty")
        module, _, name = key.removeprefix("module.").rpartition(".")
        if name != "num_batches_tracked":
            modules.setdefault(module, {})[name] = value
    for module, arrays in modules.items():
        if "running_mean" not in arrays and arrays.get("weight", np.empty(0)).ndim < 2:
            raise CheckpointError(
                f"expected convolutions, dense layers and batch norms in {path}, {shown(module)} is none; give another "
                "file"
            )
    check_weights(state)
    return modules


def _position(layer: keras.layers.Layer) -> tuple[Any, ...]:
    """Returns a sort key in the authors' order: block by block with the shortcut last, then the classifier."""
    match = re.fullmatch(r"block(\d+)\.(\d+)_(.*)", layer.name)
    if match is None:
        return (9, 9, "") if layer.name == "fc" else (-1, -1, "")
    return int(match[1]), int(match[2]), match[3]


def _kernel(layer: keras.layers.Layer, array: np.ndarray) -> np.ndarray:
    """Returns an array with its axes in our order."""
    if array.ndim == 1:
        return array
    if len(layer.kernel.shape) == 4:
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    before: Any = producer(layer.input).operation
    array = array.reshape(array.shape[0], -1)
    if isinstance(before, keras.layers.Flatten):  # PyTorch flattens channels first
        _, height, width, channels = before.input.shape
        if array.shape[1] == height * width * channels:
            array = array.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(array.shape[0], -1)
    return array.T
