"""Loading a trained network from a file."""

import os
import zipfile
from pathlib import Path

import keras

import tfprune.layers  # noqa: F401  (registers the layers that a saved model may contain)
from tfprune.errors import CheckpointError
from tfprune.models.named_arrays import check_architecture, model_from_arrays
from tfprune.models.pickle_file import read_pickled_arrays
from tfprune.models.registry import model_names, model_plan

_PATCHES = "final_pool"  # then there are logits for each of several patches, and labels mean the first of them
_RESULTS = ("finetuned.keras", "slimmed.keras", "best.keras", "trained.keras", "last.keras")


def load_checkpoint(
    path: str | os.PathLike[str], *, arch: str | None, num_classes: int, input_shape: tuple[int, int, int]
) -> keras.Model:
    """A network from a `.keras` file, or from a `.pkl` file as EKG's authors write it; slimmed ones too.

    Neither kind of file gets to run code: of a pickle only arrays are read, and Keras' safe mode stays on.

    Args:
        path: The file, or the folder of a run, which stands for the model that the run led to.
        arch: The architecture it must hold, one of `model_names()`; `None` for any, in a `.keras` file.
        num_classes: Number of classes it must tell apart.
        input_shape: `(height, width, channels)` of the images it must take.

    Returns:
        The model, not compiled.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or belongs to another network.
        ConfigError: The architecture is unknown.
    """
    if arch is not None:
        model_plan(arch)
    file = model_file(path)
    _check_file(file)
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
    """The file of the model that a run led to, where the path is the run's folder; any other path as it is."""
    return next((Path(path) / name for name in _RESULTS if (Path(path) / name).is_file()), Path(path))


def _check_file(file: Path) -> None:
    try:
        if file.is_dir():
            raise CheckpointError(f"expected a file of weights, {file} is a folder; name a .keras or .pkl file in it")
        if not file.exists():
            raise CheckpointError(f"expected a file of weights, {file} does not exist; check the path")
        with file.open("rb") as opened:
            if not opened.read(1):
                raise CheckpointError(f"expected weights in {file}, it is empty; fetch or save it again")
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from error
    if file.suffix not in (".keras", ".pkl"):
        raise CheckpointError(f"expected a .keras or a .pkl file, received {file}; save the model in one of these")


def _load_keras(file: Path, arch: str | None, num_classes: int, input_shape: tuple[int, ...]) -> keras.Model:
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"{file} is damaged or no Keras file; fetch or save it again")
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # a damaged or hostile file can make Keras raise anything
        raise CheckpointError(
            f"refused: Keras does not load {file} in safe mode: {_first_line(error)}; "
            "expected a model of Keras' and tfprune's own layers"
        ) from error
    if not isinstance(model, keras.Model):
        raise CheckpointError(f"expected a model in {file}, it holds a {type(model).__name__}; save the whole model")
    if arch is not None:
        # The layers' names do not tell networks of a family apart.
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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
