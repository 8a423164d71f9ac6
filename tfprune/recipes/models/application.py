"""Models of `keras.applications` with their ImageNet weights.

`load_application` returns a model that returns logits, and the function that prepares images for it.
"""

import inspect
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from tfprune.arguments import text
from tfprune.errors import ConfigError, DataUnavailableError, first_line
from tfprune.reprs import short, short_repr

_WEIGHTS: str | None = "imagenet"
_SECONDS_TO_ANSWER = 20.0
_SOME = ("resnet50", "mobilenetv2", "efficientnetb0")


@dataclass(frozen=True)
class Application:
    """A model of `keras.applications` and the preparation of its images.

    Attributes:
        model: Returns logits `[batch, 1000]`.
        prepare: A function from images `[batch, height, width, 3]`, red, green and blue on the scale 0 .. 255, to
            inputs of the model.
    """

    model: keras.Model
    prepare: Callable[[Any], Any]

    __repr__ = short_repr


def application_names() -> tuple[str, ...]:
    """Returns the names of the models that `load_application` loads, in lower case."""
    return tuple(_constructors())


def load_application(name: str) -> Application:
    """Loads a model with its ImageNet weights, which Keras downloads if they are not in its folder yet.

    Args:
        name: One of `application_names()`; case does not matter.

    Returns:
        The model and the preparation of its images, which differs from model to model.

    Raises:
        ConfigError: There is no such model.
        DataUnavailableError: The weights are absent and cannot be downloaded.

    Example:
        `load_application("resnet50").model.output_shape` is `(None, 1000)`
    """
    constructors = _constructors()
    if text("name", name).casefold() not in constructors:
        raise ConfigError(f"expected a model of keras.applications, received {short(name)}; such as {', '.join(_SOME)}")
    constructor = constructors[name.casefold()]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_TO_ANSWER)  # otherwise Keras waits without end for a server that does not answer
    try:
        model = constructor(weights=_WEIGHTS, classifier_activation=None)
    except Exception as error:  # a failed download or a damaged file can make Keras raise anything
        raise DataUnavailableError(
            f"no weights of {constructor.__name__}: Keras cannot fetch or read them ({first_line(error)}); put "
            "the file of weights into the folder models of Keras' home (~/.keras), or use a machine with a network"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return Application(model, sys.modules[constructor.__module__].preprocess_input)


def _constructors() -> dict[str, Callable[..., keras.Model]]:
    """Returns the constructors of all models by their name in lower case."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return {name.casefold(): function for name, function in functions if name[0].isupper()}
