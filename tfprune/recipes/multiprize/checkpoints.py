"""Files of models: those that a run writes, and checkpoints of the authors' code."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.console import quiet
from tfprune.errors import CheckpointError
from tfprune.files import replaced_file
from tfprune.keras_private import flat_layers, producer
from tfprune.layers import Subnet, refresh_masks, set_density, subnet_layers
from tfprune.recipes.data import ImageData, ImageDataset, StreamedData
from tfprune.recipes.models.checkpoint import TRAINED_MODEL, write_notes
from tfprune.recipes.models.torch_file import read_torch_file
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.training import Evaluation, RunFolder

_PARTS = {"running_mean": "moving_mean", "running_var": "moving_variance", "weight": "gamma", "bias": "beta"}


class CheckpointWriter:
    """Writes `initial.keras`, `trained.keras` and `epoch_<n>.keras` into a run folder.

    The files contain the models as they are trained: weights, scores, masks, statistics; and notes on what they are,
    see `tfprune.recipes.models.checkpoint`.

    Args:
        run: The folder.
        notes: Notes for all files.
        every: Epochs between two files that are not replaced later; 0 for none.
    """

    def __init__(self, run: RunFolder, notes: Mapping[str, Any], *, every: int) -> None:
        self._run = run
        self._notes = dict(notes)
        self._every = every

    def write_first(self, model: keras.Model) -> None:
        """Writes the untrained model, unless it is there."""
        if not (path := self._run.file("initial.keras")).exists():
            self.write(model, path, {"epoch": 0})

    def write_epoch(self, model: keras.Model, epoch: int, tested: Evaluation) -> dict[str, Any]:
        """Writes the model of an epoch and returns the numbers in its notes.

        Args:
            model: Its masks are up to date.
            epoch: Epochs it was trained for.
            tested: Its evaluation.
        """
        numbers = {"epoch": epoch, "test_accuracy": tested.top1, "test_top5": tested.top5}
        self.write(model, self._run.file(TRAINED_MODEL), numbers)
        if self._every and epoch % self._every == 0:
            self.write(model, self._run.file(f"epoch_{epoch}.keras"), numbers)
        return numbers

    def write(self, model: keras.Model, path: Path, numbers: Mapping[str, Any]) -> None:
        """Writes a model with its own layers, all or nothing, and the notes with `numbers`."""
        with replaced_file(path) as partial, quiet():
            model.save(partial)
            write_notes(partial, {**self._notes, **numbers})


def model_notes(config: MultiPrizeConfig, data: ImageDataset) -> dict[str, Any]:
    """Returns the notes in a `.keras` file of a run: enough to evaluate the model, here or elsewhere."""
    return {
        "method": config.method,
        "arch": config.arch,
        "dataset": data.name,
        "num_classes": data.num_classes,
        "input_shape": list(data.input_shape),
        **_normalization(data),
        "width_multiplier": config.width_multiplier,
        "binary_activations": config.binary_activations,
        "density": config.kept,
        "scope": "dense" if config.dense else config.scope,
        "seed": config.seed,
    }


def _normalization(data: ImageDataset) -> dict[str, list[float]]:
    """Returns the mean and the standard deviation of pixels of 0 .. 255."""
    if isinstance(data, StreamedData):  # its pixels are 0 .. 1
        return {name: [255 * value for value in values] for name, values in (("mean", data.mean), ("std", data.std))}
    return {"mean": list(data.mean), "std": list(data.std)} if isinstance(data, ImageData) else {}


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
