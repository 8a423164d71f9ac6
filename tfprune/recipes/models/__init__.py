"""Architectures by name, as plain Keras models, and their weights.

`build_model` builds an architecture, `initializer` and `initialize` draw initial weights by name, `load_checkpoint`
loads trained ones from a file, `load_application` a model of `keras.applications`.
"""

from tfprune.recipes.models.application import Application, application_names, load_application
from tfprune.recipes.models.building import build_model, model_names
from tfprune.recipes.models.checkpoint import BEST_MODEL, TRAINED_MODEL, load_checkpoint, model_from_arrays
from tfprune.recipes.models.initializers import initialize, initializer, initializer_names

__all__ = [
    "BEST_MODEL",
    "TRAINED_MODEL",
    "Application",
    "application_names",
    "build_model",
    "initialize",
    "initializer",
    "initializer_names",
    "load_application",
    "load_checkpoint",
    "model_from_arrays",
    "model_names",
]
