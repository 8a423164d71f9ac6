"""Writing models to files that run without tfprune."""

import os
import shutil
from pathlib import Path

import keras

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import convert


def plain_model(model: keras.Model) -> keras.Model:
    """A copy of a model of stock Keras layers only.

    Args:
        model: A functional or sequential model; our batch norm is swapped for Keras' own.

    Returns:
        The copy; float32 whatever the policy of `model`.

    Raises:
        UnsupportedLayerError: The model has masked or gated layers, which stock layers cannot stand for.
    """
    plain = convert(model, "plain", dtype="float32")
    ours = [f"{layer.name} ({type(layer).__name__})" for layer in plain.layers if _is_ours(layer)]
    if ours:
        raise UnsupportedLayerError(
            f"expected a model that stock Keras layers can express, received {', '.join(ours)}; slim the model first"
        )
    return plain


def save_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a `.keras` file of stock layers, all or nothing: it loads without tfprune.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.keras`; an older one is replaced.

    Raises:
        UnsupportedLayerError: See `plain_model`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.keras")
    plain_model(model).save(partial)
    os.replace(partial, path)


def export_saved_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older one is replaced.

    Raises:
        UnsupportedLayerError: See `plain_model`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    plain_model(model).export(partial, format="tf_saved_model", verbose=False)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


def _is_ours(layer: keras.Layer) -> bool:
    return type(layer).__module__.split(".")[0] == "tfprune"
