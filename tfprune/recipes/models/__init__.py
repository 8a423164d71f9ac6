"""Plain Keras architectures by name, and their weights: initial ones by name, trained ones from files."""

from tfprune.recipes.models.application import Application, application_names, load_application
from tfprune.recipes.models.checkpoint import load_checkpoint, model_from_arrays
from tfprune.recipes.models.initializers import initialize, initializer, initializer_names
from tfprune.recipes.models.registry import build_model, model_names

__all__ = [
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
