"""Networks of `keras.applications` with their ImageNet weights."""

import inspect
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from tfprune.errors import ConfigError, DataUnavailableError

_WEIGHTS: str | None = "imagenet"
_SECONDS_TO_ANSWER = 20.0
_SOME = ("resnet50", "mobilenetv2", "efficientnetb0")


@dataclass(frozen=True)
class Application:
    """A network of `keras.applications`.

    Attributes:
        model: It gives logits `[batch, 1000]`.
        prepare: From images `[batch, height, width, 3]`, red, green and blue on the scale 0 .. 255, to what it takes.
    """

    model: keras.Model
    prepare: Callable[[Any], Any]


def application_names() -> tuple[str, ...]:
    """The names that `load_application` knows, in lower case."""
    return tuple(_constructors())


def load_application(name: str) -> Application:
    """A network with the weights that Keras offers, fetched by Keras if they are not in its folder yet.

    Args:
        name: One of `application_names()`; capitals do not matter.

    Returns:
        The network, and how images are prepared for it, which differs from network to network.

    Raises:
        ConfigError: There is no such network.
        DataUnavailableError: The weights are neither there nor can they be fetched.

    Example:
        `load_application("resnet50").model.output_shape` is `(None, 1000)`
    """
    constructors = _constructors()
    if name.casefold() not in constructors:
        raise ConfigError(f"expected a network of keras.applications, received {name!r}; such as {', '.join(_SOME)}")
    constructor = constructors[name.casefold()]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_TO_ANSWER)  # Keras would wait for a dead network without end
    try:
        model = constructor(weights=_WEIGHTS, classifier_activation=None)
    except Exception as error:  # whatever a failed download or a damaged file makes Keras raise
        raise DataUnavailableError(
            f"no weights of {constructor.__name__}: Keras cannot fetch or read them ({_first_line(error)}); put "
            "the file of weights into the folder models of Keras' home (~/.keras), or use a machine with a network"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return Application(model, sys.modules[constructor.__module__].preprocess_input)


def _constructors() -> dict[str, Callable[..., keras.Model]]:
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return {name.casefold(): function for name, function in functions if name[0].isupper()}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
