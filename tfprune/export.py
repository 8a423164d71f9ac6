"""Writing models to files that run without tfprune."""

import os
import shutil
from pathlib import Path

import keras

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import convert


def plain_model(model: keras.Model) -> keras.Model:
    """A copy of a model of stock Keras layers only.

    Args:
        model: A functional or sequential model; our batch norm is swapped for Keras' own.

    Returns:
        The copy; float32 whatever the policy of `model`.

    Raises:
        UnsupportedLayerError: The model has masked or gated layers, which stock layers cannot stand for, or a model
            within the model.
    """
    inner = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if inner:
        raise UnsupportedLayerError(
            f"expected a flat model, received the models {', '.join(inner)} in it; call their layers one by one instead"
        )
    plain = convert(model, "plain", dtype="float32")
    ours = [f"{layer.name} ({type(layer).__name__})" for layer in plain._flatten_layers() if _is_ours(layer)]
    if ours:
        raise UnsupportedLayerError(
            f"expected a model that stock Keras layers can express, received {', '.join(ours)}; slim the model first"
        )
    return plain


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a `.keras` file of stock layers, all or nothing: it loads without tfprune.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.keras`; an older one is replaced, a missing folder made.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: The name does not end in `.keras`.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ConfigError(f"expected a file name that ends in .keras, received {path}; rename it")
    plain = plain_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial.keras")
    try:
        plain.save(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def export_saved_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older SavedModel there is replaced when the new one is complete.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: There is something else than a SavedModel at `path`; it is left alone.
    """
    path = Path(path)
    if path.exists() and not (path / "saved_model.pb").exists() and not _is_empty_folder(path):
        raise ConfigError(f"expected a SavedModel to replace or nothing at {path}, found something else; name another")
    plain = plain_model(model)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        plain.export(partial, format="tf_saved_model", verbose=False)
        shutil.rmtree(path, ignore_errors=True)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_ours(layer: keras.Layer) -> bool:
    return type(layer).__module__.split(".")[0] == "tfprune"


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
