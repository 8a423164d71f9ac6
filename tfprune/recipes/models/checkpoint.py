"""Trained models from files, and what is known about them.

`load_checkpoint` loads a `.keras` file, or a `.pkl` file of the EKG authors, also of a slimmed model, and checks that
it fits the architecture and the data. No code of a file is run. `recorded_origin` says what a file was trained on.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.arguments import instance, text
from tfprune.errors import CheckpointError, ConfigError
from tfprune.exporting import read_record
from tfprune.files import as_path
from tfprune.graph.calls import check_finite_weights
from tfprune.model_file import load_model
from tfprune.reading import RefusedError, check_weights, open_file, reading
from tfprune.reading.keras_file import read_config
from tfprune.reading.pickles import read_pickled_arrays
from tfprune.reading.yaml_file import read_settings
from tfprune.recipes.models.building import (
    build_model,
    find_architecture,
    model_names,
    recognize_architecture,
    sized_layers,
)

BEST_MODEL = "best.keras"  # in a run folder: the epoch with the best accuracy on the test images
TRAINED_MODEL = "trained.keras"  # in a run folder: the result
_PATCHES = "final_pool"  # with this layer, a model has logits for each of several patches; labels count the first
_SUFFIXES = (".keras", ".pkl")
_LAYER = re.compile(r"(?:BasicBlock(\d+\.\d+)/)?((?:conv|bn)\d?|fc)")
_VARIABLES = ("kernel", "biases", "gamma", "beta", "moving_mean", "moving_variance")


def load_checkpoint(
    path: str | os.PathLike[str], *, arch: str | None, num_classes: int, input_shape: tuple[int, int, int]
) -> keras.Model:
    """Loads a model from a `.keras` file, or from a `.pkl` file of the EKG authors; slimmed models, too.

    No code of a file is run: a pickle is only read for arrays, and Keras' safe mode is on.

    Args:
        path: The file, or the folder of a run, for the model that the run resulted in.
        arch: The expected architecture, one of `model_names()`; `None` for any, in a `.keras` file.
        num_classes: Expected number of classes.
        input_shape: Expected `(height, width, channels)` of the images.

    Returns:
        The model, not compiled.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe, or contains another model.
        ConfigError: The architecture is unknown, or weights of a `.keras` file are NaN or infinite.
    """
    if arch is not None:
        find_architecture(arch)
    file = model_file(as_path(path))
    check_weights_file(file)
    try:
        if file.suffix == ".keras":
            return _load_keras(file, arch, num_classes, tuple(input_shape))
        if arch is None:
            raise CheckpointError(f"{file} does not say which architecture it is for; give --arch")
        return model_from_arrays(read_pickled_arrays(file), arch, num_classes, input_shape)
    except CheckpointError as error:
        message = str(error)
        raise CheckpointError(message if str(file) in message else f"{file}: {message}") from error


def model_file(path: str | os.PathLike[str]) -> Path:
    """Returns the file of the resulting model if a path is the folder of a run; otherwise the path.

    Args:
        path: A file or the folder of a run.

    Returns:
        `best.keras` in the folder if there is one, otherwise `trained.keras`; the path itself if there is neither.
    """
    results = (Path(path) / name for name in (BEST_MODEL, TRAINED_MODEL))
    return next(filter(Path.is_file, results), Path(path))


def check_weights_file(file: Path) -> None:
    """Checks that a file of weights can be read and is of a known kind.

    Args:
        file: A `.keras` or `.pkl` file.

    Raises:
        CheckpointError: It is not.
    """
    with reading(file, "a file of weights"):
        if file.is_dir():
            found = ", ".join(sorted(each.name for each in file.iterdir() if each.suffix in _SUFFIXES)) or "none"
            raise CheckpointError(
                f"expected a file of weights, or a folder with {BEST_MODEL} or {TRAINED_MODEL}; files of weights in "
                f"{file}: {found}; name one"
            )
        if not file.exists():
            raise CheckpointError(f"expected a file of weights, {file} does not exist; check the path")
        with open_file(file) as opened:
            if not opened.read(1):
                raise CheckpointError(f"expected weights in {file}, it is empty; download or save it again")
    if file.suffix not in _SUFFIXES:
        raise CheckpointError(f"expected a .keras or a .pkl file, received {file}; save the model in one of these")


def _load_keras(file: Path, arch: str | None, num_classes: int, input_shape: tuple[int, ...]) -> keras.Model:
    """Loads a `.keras` file and checks architecture, images and classes."""
    model = load_model(file)
    check_finite_weights(model)
    if arch is not None:
        # The names of layers do not distinguish the architectures of a family.
        if model.name != arch and model.name in model_names():
            raise CheckpointError(
                f"the file is a {model.name}, expected {arch}; use --arch {model.name} or another file"
            )
        check_architecture({layer.name for layer in model.layers}, arch)
    if model.input_shape[1:] != input_shape:
        raise CheckpointError(
            f"the file is for images of shape {list(model.input_shape[1:])}, expected {list(input_shape)}; "
            "use the data set it was trained on"
        )
    logits = model.output_shape[-1]
    if logits != num_classes and not (_PATCHES in {layer.name for layer in model.layers} and logits > num_classes):
        raise CheckpointError(
            f"the file tells {logits} classes apart, expected {num_classes}; use the data set it was trained on"
        )
    return model


def model_from_arrays(
    arrays: Mapping[str, np.ndarray], arch: str, num_classes: int, input_shape: tuple[int, int, int]
) -> keras.Model:
    """Builds a model with the given weights; its widths are those of the kernels, so slimmed models load, too.

    Args:
        arrays: Weights by names like `BasicBlock1.0/conv3/kernel:0`, `bn/gamma:0` or `fc/biases:0`. A prefix up to
            `ResNet/` and the suffix `:0` are ignored. Vectors may have leading axes of length 1.
        arch: Their architecture, one of `model_names()`.
        num_classes: Expected number of logits.
        input_shape: `(height, width, channels)` of an image.

    Returns:
        The model.

    Raises:
        CheckpointError: Arrays are missing, unknown, of a wrong shape, or belong to another architecture.
        ConfigError: The architecture is unknown.
    """
    instance("arrays", arrays, Mapping, "arrays by name")
    weights = {_variable_path(text("arrays", name)): np.asarray(array) for name, array in arrays.items()}
    if len(weights) < len(arrays):
        raise CheckpointError("the file has two arrays for one variable; download it again")
    check_architecture({path.rpartition("/")[0] for path in weights}, arch)
    widths = {
        path.removesuffix("/kernel"): array.shape[3]
        for path, array in weights.items()
        if path.endswith("/kernel") and array.ndim == 4
    }
    for name, most in find_architecture(arch).default_widths().items():
        if widths.get(name, most) > most:  # a few numbers could ask for a model of any size
            raise CheckpointError(f"expected at most {most} channels of {name} as in {arch}, received {widths[name]}")
    _check_ends(weights, num_classes, input_shape)
    try:
        model = build_model(arch, num_classes=num_classes, input_shape=input_shape, widths=widths, seed=0)
    except ConfigError as error:
        raise CheckpointError(f"the kernels do not fit together: {error}") from error
    variables = {f"{layer.name}/{variable.name}": variable for layer in model.layers for variable in layer.variables}
    _check_names(set(weights), set(variables), arch)
    values = {path: _shaped(path, weights[path], tuple(variable.shape)) for path, variable in variables.items()}
    try:
        check_weights(values)
    except RefusedError as error:
        raise CheckpointError(f"{error}; download the file again") from error
    for path, variable in variables.items():
        variable.assign(values[path])
    return model


def check_architecture(layer_names: set[str], arch: str) -> None:
    """Checks that these layers are those of the expected architecture.

    Args:
        layer_names: Names of the layers of a checkpoint, in the style of `build_model`.
        arch: The expected architecture.

    Raises:
        CheckpointError: They belong to another architecture, or to no known one.
    """
    if set(find_architecture(arch).default_widths()) == sized_layers(layer_names):
        return
    found = recognize_architecture(layer_names)
    if found is None:
        raise CheckpointError(
            f"the file contains no complete {arch}: its convolutions are those of no known architecture"
        )
    raise CheckpointError(f"the file is a {found}, expected {arch}; use --arch {found} or another file")


def _variable_path(name: str) -> str:
    """Returns our `layer/variable` for a name like `ResNet/BasicBlock1.0/conv3/kernel:0`."""
    layer, _, variable = name.rpartition("ResNet/")[2].removesuffix(":0").rpartition("/")
    match = _LAYER.fullmatch(layer)
    if match is None or variable not in _VARIABLES:
        raise CheckpointError(f"expected names like 'BasicBlock1.0/conv3/kernel:0', received {name!r:.60}")
    block, short = match.groups()
    return f"{short if block is None else f'block{block}_{short}'}/{'bias' if variable == 'biases' else variable}"


def _check_ends(weights: Mapping[str, np.ndarray], num_classes: int, input_shape: tuple[int, int, int]) -> None:
    """Checks the channels of the images and the number of classes."""
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
    """Raises CheckpointError if arrays are missing or unknown."""
    missing, unknown = sorted(expected - given), sorted(given - expected)
    if missing:
        raise CheckpointError(f"the file lacks {len(missing)} of {len(expected)} arrays of {arch}, first {missing[0]}")
    if unknown:
        raise CheckpointError(f"the file contains {len(unknown)} arrays that {arch} does not have, first {unknown[0]}")


def _shaped(path: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the array without leading axes of length 1."""
    extra = array.ndim - len(shape)
    trimmed = array.reshape(array.shape[extra:]) if extra > 0 and set(array.shape[:extra]) == {1} else array
    if trimmed.shape != shape:
        raise CheckpointError(f"expected shape {list(shape)} for {path}, the file has {list(array.shape)}")
    return trimmed


def recorded_origin(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what is known about a model: by the record in its file, or else by the settings of the run beside it.

    Args:
        path: The file.

    Returns:
        Values by name: of the record, of the settings in it, and `data_path` if the run's folder still has it for the
        same data; of the `settings.yaml` beside a file without a record. Empty if nothing is known.
    """
    record, beside = read_record(path), _settings_beside(Path(path))
    if "dataset" not in record:
        return beside | record
    settings = record.get("settings")
    origin = (settings if isinstance(settings, dict) else {}) | record
    if "resize_size" in origin and isinstance(settings, dict):
        origin["dataset"] = settings.get("dataset")  # a folder of images has a name that says nothing to others
    if beside.get("dataset") == origin.get("dataset"):
        origin["data_path"] = beside.get("data_path")
    return origin


def _settings_beside(file: Path) -> dict[str, Any]:
    """Returns the settings of the run whose folder a file is in; empty if it is in none."""
    try:
        return read_settings(file.parent / "settings.yaml")
    except ConfigError:
        return {}


def stored_shape(path: str | os.PathLike[str]) -> tuple[int, ...] | None:
    """Reads the input shape of a functional model from a `.keras` file, without loading it.

    Args:
        path: The file.

    Returns:
        `(height, width, channels)`; None if the file does not contain it, or is not a `.keras` file.
    """
    try:
        layers = read_config(path)["config"]["layers"]
        shape = next(layer["config"]["batch_shape"] for layer in layers if layer["class_name"] == "InputLayer")[1:]
    except Exception:  # damaged files make libraries raise anything
        return None
    return tuple(shape) if all(isinstance(size, int) for size in shape) else None
