"""Models as SavedModels, for TensorFlow alone."""

import os
from pathlib import Path

import keras

from tfprune.exporting.plain_model import plain_model
from tfprune.exporting.quiet import quiet
from tfprune.exporting.replacement import replaced_folder

_CONTENT = frozenset({"saved_model.pb", "fingerprint.pb", "variables", "assets"})


def export_saved_model(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as a SavedModel, which TensorFlow alone can run (`tf.saved_model.load(path).serve`).

    Args:
        model: A functional or sequential model without masks and gates.
        path: The folder; an older SavedModel there is replaced when the new one is complete.

    Raises:
        UnsupportedLayerError: See `plain_model`.
        ConfigError: There is something else than a SavedModel at `path`; it is left alone.
    """
    with replaced_folder(Path(path), _CONTENT) as partial:
        plain = plain_model(model)
        with quiet():
            plain.export(partial, format="tf_saved_model", verbose=False)
