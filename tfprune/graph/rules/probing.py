"""Trials of functions: whether each channel of the result depends on the same channel of the input only.

A function is tried on random inputs with all channels and with some of them. It passes if the result of some channels
is the same as those channels of the whole result, each time. Errors, randomness and kept state fail. Layers are tried
in `rules.layer_trials`.
"""

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfprune.graph.layer_copies import arrays_agree

_SHAPES = ((5, 32), (3, 7), (3, 5, 7), (2, 5, 4, 7), (2, 3, 4, 5, 6))
SCALES = (0.1, 1.0, 20.0)
"""Scales of the random values that functions and layers are tried on."""


_functions: "WeakKeyDictionary[Any, dict[str, str]]" = WeakKeyDictionary()


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
    tolerance = tolerance_of(dtype)

    def compute(values: np.ndarray) -> np.ndarray:
        return np.asarray(as_array(function(keras.ops.cast(keras.ops.convert_to_tensor(values), dtype))), np.float64)

    runs = False
    for shape in _SHAPES:
        rng = np.random.default_rng(0)
        for scale in SCALES:
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
                if not arrays_agree(part, np.take(whole, chosen, axis), tolerance):
                    return "mixes them"
    return "" if runs else "fails when it is tried"


def _choices(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Yields axes after the batch axis, and some positions along each."""
    for axis in range(1, len(shape)):
        for count in {1, shape[axis] // 2, shape[axis] - 1}:
            yield axis, np.sort(rng.choice(shape[axis], count, replace=False))


def channel_axis(layer: Any, tensor: keras.KerasTensor) -> int:
    """Returns the index of the channel axis among the axes after the batch axis."""
    given = getattr(layer, "data_format", "channels_last") or keras.config.image_data_format()
    return 0 if given == "channels_first" else len(tensor.shape) - 2


def as_array(value: Any) -> np.ndarray:
    """Returns a tensor or variable as an array."""
    return np.asarray(keras.ops.convert_to_numpy(value))


def tolerance_of(dtype: str) -> float:
    """Returns how much results may differ that were computed in a type."""
    return 1e-2 if "16" in dtype else 1e-5
