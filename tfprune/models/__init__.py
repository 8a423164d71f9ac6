"""Plain Keras architectures by name, and their weights: initial ones by name, trained ones from files."""

from tfprune.models.application import Application, application_names, load_application
from tfprune.models.checkpoint import load_checkpoint
from tfprune.models.initial_weights import initializer, initializer_names
from tfprune.models.initialize import initialize
from tfprune.models.named_arrays import model_from_arrays
from tfprune.models.registry import build_model, model_names

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
