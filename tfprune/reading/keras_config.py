"""Configurations of Keras models: what they name, and how much work and memory they ask for.

Keras makes what a configuration describes: it looks up classes and functions by name, and calls layers as often as it
is told to. A few kilobytes can describe a model that takes hours to make, or more memory than there is.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tfprune.reading.content import RefusedError, shown
from tfprune.reading.json_text import json_value

MOST_OBJECTS = 50_000
"""Layers, calls of layers, initializers and so on that a configuration may describe."""

MOST_CALLS = 4_000
"""Calls of layers to make a model; Keras needs up to four milliseconds for one."""

MOST_VALUES = 1 << 28
"""Values of an input, or of the state of a recurrent layer that keeps it between batches."""

MOST_REPEATS = 1_000
"""Repetitions of an operation in a layer, and parts of what is split."""

_PACKAGES = (
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models", "ops"),
    *("optimizers", "quantizers", "random", "regularizers"),
)
_MODULES = ("keras", *(f"keras.{name}" for name in _PACKAGES))
_INNER_MODULES = tuple(f"keras.src.{name}." for name in (*_PACKAGES, "applications"))
_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
_RUN_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__")
_TRUST = "if you trust it, load it by Keras with safe_mode=False and use tfprune from Python"
_FILES = ("vocabulary", "idf_weights")
_SPACES = ("Linspace", "Logspace", "Geomspace")  # their number is the size of an axis
_REPEATS = ("indices_or_sections", "num", "num_ops", "num_chains", "chain_depth", "power_iterations")
_UNITS = ("units", "filters")
_TYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)))

Config = Mapping[str, Any]


def parse_config(content: bytes) -> dict[str, Any]:
    """Returns the configuration of a model, without what the model was compiled with.

    Args:
        content: JSON, as in a `.keras` file.

    Raises:
        RefusedError: It is something else, beyond the limits of `json_value`, or describes too many objects.
    """
    return checked_config(json_value(content, finite=False))


def checked_config(config: Any) -> dict[str, Any]:
    """Returns the configuration of a model that the values of a JSON text are, as `parse_config` does.

    Raises:
        RefusedError: It describes no object, or too many.
    """
    if not isinstance(config, dict):
        raise RefusedError("its configuration describes no object")
    objects = 0
    for part in _objects(config):
        part.pop("compile_config", None)  # of models within the model, too
        objects += 1
    if objects > MOST_OBJECTS:
        raise RefusedError(f"its configuration describes more than {MOST_OBJECTS:,} objects")
    return config


def unknown_names(config: Config, registered: Callable[[str], bool]) -> tuple[str, ...]:
    """Returns the classes and functions of users that are not registered, such as `the class Mine`.

    Args:
        config: The configuration.
        registered: Whether a class or function is registered in Keras by this name.

    Raises:
        RefusedError: It names something that is no part of a model, or that runs code or reads files.
    """
    unknown: dict[str, None] = {}
    for part in _objects(config):
        kind, values, module = part["class_name"], part["config"], part.get("module")
        function = kind == "function"
        name = values if function else part.get("registered_name")
        if isinstance(name, str) and registered(name) and not str(kind).startswith("__"):
            continue  # Keras looks for these first, but for its values, such as __numpy__
        if isinstance(values, dict):
            _check_values(kind, values)
        if kind in _RUN_CODE:
            raise RefusedError(f"it has a {kind}, which runs code; Keras' safe mode refuses it, too", _TRUST)
        if _of_keras(part):
            continue
        if not isinstance(name, str) or str(module).split(".")[0] == "keras":
            raise RefusedError(
                f"it names {shown(f'{module}.{name if function else kind}')}, which is no part of a model"
            )
        unknown[f"the {'function' if function else 'class'} {name:.100}"] = None
    return tuple(unknown)


def name_sequences(config: Config, registered_name: str) -> None:
    """Gives Keras' own sequential models in a configuration another registered name, by which Keras looks first.

    Args:
        config: The configuration; it is changed.
        registered_name: The name.
    """
    for part in _objects(config):
        if part["class_name"] == "Sequential" and _of_keras(part):
            part["registered_name"] = registered_name


def check_work(config: Config) -> None:
    """Checks how often layers are called, and how large inputs and states are.

    Raises:
        RefusedError: It is too much.
    """
    _calls(config, total := _Total())
    if total.calls > MOST_CALLS:
        raise RefusedError(f"its configuration asks for more than {MOST_CALLS:,} calls of layers")
    settings = [values for part in _objects(config) if isinstance(values := part.get("config"), dict)]
    inputs = [_size(values.get("batch_shape")) for values in settings]
    units = [size for values in settings for name in _UNITS if isinstance(size := values.get(name), int)]
    stateful = any(values.get("stateful") for values in settings)
    if max([1, *inputs]) * (max([1, *units]) if stateful else 1) > MOST_VALUES:
        raise RefusedError(f"its inputs{' or states' if stateful else ''} have more than {MOST_VALUES:,} values")


def _objects(config: Config) -> Iterator[dict[str, Any]]:
    """Yields each part of a configuration that describes an object of a class, or a function, in their order."""
    pending: list[Any] = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if "class_name" in part and "config" in part:
                yield part
            pending += reversed(part.values())
        elif isinstance(part, list):
            pending += reversed(part)


def _of_keras(part: Config) -> bool:
    """Returns whether Keras itself has what a part of a configuration names, or the part is a value."""
    kind, module = part["class_name"], part.get("module")
    if module is None:
        return kind in _VALUES or "registered_name" not in part  # an initializer and the like by its name alone
    if module == "builtins" and kind == "function":
        return ">" not in str(part["config"])
    return module in _MODULES or (isinstance(module, str) and f"{module}.".startswith(_INNER_MODULES))


def _check_values(kind: object, values: Config) -> None:
    """Raises RefusedError for settings that make Keras read other files, or do something very often."""
    for name in _FILES:
        if isinstance(values.get(name), str):
            raise RefusedError(f"its {shown(kind)} takes its {name} from another file")
    for name in _REPEATS:
        if kind not in _SPACES and isinstance(values.get(name), int) and values[name] > MOST_REPEATS:
            raise RefusedError(f"its {shown(kind)} has a setting {name} of more than {MOST_REPEATS:,}")
    if kind == "__numpy__" and values.get("dtype") not in _TYPES:
        raise RefusedError(f"it has an array of the type {shown(values.get('dtype'))}")


class _Total:
    """Calls of layers by which Keras makes the models of a configuration."""

    calls = 0


def _calls(part: Any, total: _Total) -> int:
    """Returns how often layers are called when the models in a part are called once; 0 if it has none."""
    if isinstance(part, list):
        return sum(_calls(each, total) for each in part)
    if not isinstance(part, dict):
        return 0
    layers = part.get("layers")
    if not isinstance(layers, list):
        return sum(_calls(each, total) for each in part.values())
    calls = 0
    for layer in layers:
        nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
        calls += max(1, _calls(layer, total)) * max(1, len(nodes) if isinstance(nodes, list) else 1)
    # A functional model is searched for each call that comes too early; a sequential one is made in one pass.
    total.calls += calls + len(layers) * _early(layers) // 256
    return calls


def _early(layers: Iterable[Any]) -> int:
    """Returns how many calls in a functional model stand before that of a layer whose output they take."""
    made: set[str] = set()
    early = 0
    for layer in layers:
        if isinstance(layer, dict):
            nodes = layer.get("inbound_nodes")
            for node in nodes if isinstance(nodes, list) else ():
                early += not made.issuperset(_producers(node))
            made.add(str(layer.get("name")))
    return early


def _producers(node: Any) -> Iterator[str]:
    """Yields the names of the layers whose outputs a call takes; the call has `[name, call, output]` for each."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, list) and len(part) > 2 and isinstance(part[0], str) and isinstance(part[1], int):
            yield part[0]
        elif isinstance(part, dict | list):
            pending += part.values() if isinstance(part, dict) else part


def _size(shape: Any) -> int:
    """Returns the product of the known sizes of a shape; 0 if it is none."""
    return math.prod(size for size in shape if isinstance(size, int)) if isinstance(shape, list) else 0
