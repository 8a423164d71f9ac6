"""Trials of functions and layers: whether each channel of the result depends on the same channel of the input only.

A function or layer is tried on random inputs with all channels and with some of them. It passes if the result of some
channels is the same as those channels of the whole result, each time. Errors, randomness and kept state fail.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.layer_copies import are_close, configuration, random_state_kept, remade_layer
from tfprune.keras_private import takes_training

_SHAPES = ((5, 32), (3, 7), (3, 5, 7), (2, 5, 4, 7), (2, 3, 4, 5, 6))
_SCALES = (0.1, 1.0, 20.0)
_MOST_VALUES = 4096
_OPEN_SIZE = 6

_functions: "WeakKeyDictionary[Any, dict[str, str]]" = WeakKeyDictionary()
_layers: "WeakKeyDictionary[Any, dict[Any, Separate | None]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Separate:
    """How a layer that treats each channel separately depends on their number.

    Attributes:
        weights: Axes with one entry per channel, as `(weight, axis)`, negative axes.
        setting: The setting that is the number of channels; None if there is none.
        free: Whether it multiplies nothing but single values, so that its cost is not counted.
    """

    weights: tuple[tuple[str, int], ...] = ()
    setting: str | None = None
    free: bool = True


def mixing(function: Callable[..., Any], dtype: str = "float32") -> str:
    """Returns why an activation function cannot lose channels; empty if it computes each value separately.

    Args:
        function: Takes a tensor of any shape and returns one of that shape.
        dtype: What the layer computes in; the function is also tried in float32, where small effects show.
    """
    try:
        known = _functions.setdefault(function, {})
    except TypeError:  # it cannot be a key
        known = {}
    for each in dict.fromkeys(("float32", dtype)):
        if each not in known:
            known[each] = _tried(function, each)
    return known["float32"] or known[dtype]


def _tried(function: Callable[..., Any], dtype: str) -> str:
    tolerance = 1e-2 if "16" in dtype else 1e-5

    def compute(values: np.ndarray) -> np.ndarray:
        return np.asarray(_array(function(keras.ops.cast(_tensor(values), dtype))), np.float64)

    runs = False
    for shape in _SHAPES:
        rng = np.random.default_rng(0)
        for scale in _SCALES:
            values = rng.normal(0, scale, shape).astype(np.float32)
            try:
                whole, again = compute(values), compute(values)
            except Exception:  # it may be for other ranks
                break
            if whole.shape != values.shape:
                return "changes their number"
            if not np.array_equal(whole, again, equal_nan=True):
                return "is random, or keeps a state"
            runs = True
            for axis, chosen in _choices(shape, rng):
                try:
                    part = compute(np.take(values, chosen, axis))
                except Exception:
                    return "fails when some of them are removed"
                if not _same(part, np.take(whole, chosen, axis), tolerance):
                    return "mixes them"
    return "" if runs else "fails when it is tried"


def _choices(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Yields axes after the batch axis, and some positions along each."""
    for axis in range(1, len(shape)):
        for count in {1, shape[axis] // 2, shape[axis] - 1}:
            yield axis, np.sort(rng.choice(shape[axis], count, replace=False))


def separate(call: Call) -> Separate | None:
    """Tries a layer at other widths; none of its own state or weights is touched.

    Args:
        call: A call of any layer or operation.

    Returns:
        How the layer depends on the number of channels; None if it does not treat them separately, or if Keras cannot
        make it at another width.
    """
    layer: Any = call.layer
    if not isinstance(layer, keras.Layer) or len(call.inputs) != 1 or len(call.outputs) != 1:
        return None
    known = _layers.setdefault(layer, {})
    key = (call.inputs[0].shape, call.inputs[0].dtype)
    if key not in known:
        with random_state_kept(), warnings.catch_warnings(action="ignore"):
            try:
                known[key] = _separate(layer, call)
            except Exception:  # the layer's own code may fail in any way at another width
                known[key] = None
    return known[key]


def channel_axis(layer: Any, tensor: keras.KerasTensor) -> int:
    """Returns the index of the channel axis among the axes after the batch axis."""
    given = getattr(layer, "data_format", "channels_last") or keras.config.image_data_format()
    return 0 if given == "channels_first" else len(tensor.shape) - 2


def _separate(layer: Any, call: Call) -> Separate | None:
    (tensor,), (output,) = call.inputs, call.outputs
    axis, made = 1 + channel_axis(layer, tensor), 1 + channel_axis(layer, output)
    if min(axis, made) < 1 or not tensor.dtype.startswith(("float", "bfloat")):
        return None
    width = tensor.shape[axis]
    large = any(np.prod(weight.shape, dtype=np.int64) > _MOST_VALUES * (width or 1) for weight in layer.weights)
    if width is None or output.shape[made] != width or large:
        return None
    free = all(np.prod(weight.shape, dtype=np.int64) <= width for weight in layer.weights)
    if width == 1:
        return Separate(free=free)  # the only channel is never removed
    trial = _Trial(layer, call, axis, made, width)
    settings = [key for key, value in configuration(layer).items() if type(value) is int and value == width]
    for setting in (None, *settings) if len(settings) == 1 else (None,):
        axes = trial.axes(setting)
        if axes is not None:
            paths = _paths(layer)
            weights = [(paths[id(layer.variables[index])], axis) for index, axis in axes.items()]
            return Separate(tuple(weights), setting, free)
    return None


class _Trial:
    """Compares copies of a layer at its own width and at smaller ones, on random inputs and weights."""

    def __init__(self, layer: Any, call: Call, axis: int, made: int, width: int) -> None:
        self._layer, self._call, self._axis, self._made, self._width = layer, call, axis, made, width
        self._rng = np.random.default_rng(0)
        self._shape = [2, *(size or _OPEN_SIZE for size in call.inputs[0].shape[1:])]

    def axes(self, setting: str | None) -> dict[int, int] | None:
        """Returns the channel axis of each weight that has one, by number of the variable; None if a trial fails."""
        found: list[dict[int, int]] = []
        whole = None
        for count in sorted({max(1, self._width // 2), self._width - 1}):
            kept = np.sort(self._rng.choice(self._width, count, replace=False))
            try:
                small = self._built(count, setting)
            except Exception:  # it needs the setting, or has no smaller form
                return None
            axes = self._cut_axes(small, count)
            if axes is None:
                return None
            whole = self._built(self._width) if whole is None else whole
            if not all(self._agree(whole, small, axes, kept, draw) for draw in (None, self._positive, self._any)):
                return None
            found.append(axes)
        return found[0] if all(each == found[0] for each in found) else None

    def _built(self, count: int, setting: str | None = None) -> Any:
        new = remade_layer(self._layer, {} if setting is None else {setting: lambda old: count})
        self._run(new, np.take(np.zeros(self._shape, np.float32), np.arange(count), self._axis))
        return new

    def _run(self, layer: Any, values: np.ndarray) -> np.ndarray:
        tensor = keras.ops.cast(_tensor(values), self._call.inputs[0].dtype)
        arguments, named = self._call.arguments({id(self._call.inputs[0]): tensor})
        return _array(layer(*arguments, **(named | {"training": False} if takes_training(layer) else named)))

    def _cut_axes(self, small: Any, count: int) -> dict[int, int] | None:
        axes: dict[int, int] = {}
        if len(small.variables) != len(self._layer.variables):
            return None
        for index, (old, new) in enumerate(zip(self._layer.variables, small.variables, strict=True)):
            sizes = list(zip(old.shape, new.shape, strict=True))
            changed = [axis for axis, (before, after) in enumerate(sizes, start=-len(sizes)) if before != after]
            if len(changed) > 1 or any(sizes[axis] != (self._width, count) for axis in changed):
                return None
            if changed:
                axes[index] = changed[0]
        return axes

    def _agree(self, whole: Any, small: Any, axes: Mapping[int, int], kept: np.ndarray, draw: Any) -> bool:
        for index, (old, new, own) in enumerate(
            zip(whole.variables, small.variables, self._layer.variables, strict=True)
        ):
            value = _array(own)
            if draw is not None and np.issubdtype(value.dtype, np.floating):
                value = draw(value.shape)
            old.assign(value)
            new.assign(np.take(value, kept, axes[index]) if index in axes else value)
        for scale in _SCALES:
            values = self._rng.normal(0, scale, self._shape).astype(np.float32)
            result, again = self._run(whole, values), self._run(whole, values)
            part = self._run(small, np.take(values, kept, self._axis))
            half = "16" in self._layer.compute_dtype
            steady = np.array_equal(result, again, equal_nan=True)
            if not steady or not _same(part, np.take(result, kept, self._made), 1e-2 if half else 1e-5):
                return False
        return True

    def _positive(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._rng.uniform(0.5, 1.5, shape)

    def _any(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._rng.normal(0, 1, shape)


def _paths(layer: Any, prefix: str = "") -> dict[int, str]:
    """Returns the attribute that holds each variable, by its `id`; `norm.gamma` within a layer that is an attribute."""
    found: dict[int, str] = {}
    for name, value in vars(layer).items():
        if isinstance(value, keras.Variable):
            found.setdefault(id(value), prefix + name)
        elif isinstance(value, keras.Layer) and prefix.count(".") < 4:
            found = _paths(value, f"{prefix}{name}.") | found
    return found


def _tensor(values: np.ndarray) -> Any:
    return keras.ops.convert_to_tensor(values)


def _array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def _same(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> bool:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return bool(np.isfinite(expected).any()) and are_close(found, expected, tolerance)
