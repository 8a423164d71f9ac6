"""SavedModels: folders that TensorFlow runs without Keras, TensorFlow Serving among others."""

import os
from pathlib import Path

import keras

from tfprune.console import quiet
from tfprune.exporting.keras import plain_model
from tfprune.exporting.output import output_folder

_CONTENT = frozenset({"saved_model.pb", "fingerprint.pb", "variables", "assets"})


def export_saved_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older SavedModel there is replaced when the new one is complete.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: There is something other than a SavedModel at `path`; it is not changed.
        WriteError: The folder cannot be written.
    """
    with output_folder(Path(path), _CONTENT) as partial:
        plain = plain_model(model)
        with quiet():
            plain.export(partial, format="tf_saved_model", verbose=False)
