"""Copies of a layer at several widths, which are compared on random inputs and weights."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import gcd, prod
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.layer_copies import arrays_agree, configuration, remade_layer
from tfprune.graph.rules.probing import SCALES, as_array, tolerance_of
from tfprune.keras_private import takes_training
from tfprune.layers.held_weights import held_weights

_OPEN_SIZE = 6
_FEW = 5
_FIRST_NUMBERS = (64, 8, 2)

_Axes = dict[int, int]
_Agree = Callable[[Any, Any, _Axes, np.ndarray], bool]

_normalizations: "WeakKeyDictionary[type, dict[str, _Axes | None]]" = WeakKeyDictionary()


def constants_as_text(call: Call) -> str:
    """Returns the arguments of a call that are no tensors of it."""
    arguments = call.arguments({id(tensor): None for tensor in call.inputs})
    leaves = keras.tree.map_structure(lambda value: id(value) if hasattr(value, "shape") else value, arguments)
    return repr(leaves)


class Trial:
    """Compares copies of a layer at several widths, on random inputs and weights.

    Args:
        layer: The layer.
        call: A call of it.
        width: Number of channels.
        settings: The settings that are their number.
        reads: Their axis in the only input; None if the inputs have none.
        made: Their axis in the output; None if the output has none.
    """

    def __init__(
        self, layer: Any, call: Call, width: int, settings: tuple[str, ...], *, reads: int | None, made: int | None
    ) -> None:
        self._layer, self._call, self._width, self._made, self._reads = layer, call, width, made, reads
        self._settings = settings
        self._rng = np.random.default_rng(0)
        self._shapes = [[2, *(size or _OPEN_SIZE for size in tensor.shape[1:])] for tensor in call.inputs]
        self._dtype: str | None = None
        self._numbers = _FIRST_NUMBERS[-1]

    def separate_axes(self) -> _Axes | None:
        """Returns the channel axis of each weight that has one, by number of the variable; None if a trial fails."""
        return self._in_each_dtype(self._is_separate)

    def read_axes(self) -> _Axes | None:
        """Returns the same for a layer in whose result a channel counts for nothing where these weights are zero."""
        return self._in_each_dtype(self._is_read)

    def normalized_axes(self) -> _Axes | None:
        """Returns the same for a normalization over channels."""
        # Each vector must be normalized on its own, so few are enough.
        (shape,) = self._shapes
        self._shapes = [[size if axis == self._reads else min(size, _FEW) for axis, size in enumerate(shape)]]
        try:
            config = configuration(self._layer)
            config.pop("name", None)
            shapes = [(tuple(each.shape), each.dtype) for each in self._layer.variables]
            key = json.dumps(
                [
                    config,
                    self._shapes,
                    self._call.inputs[0].dtype,
                    shapes,
                    self._settings,
                    constants_as_text(self._call),
                ]
            )
        except TypeError:  # it has settings that are no plain values
            return self._in_each_dtype(self._is_normalized)
        known = _normalizations.setdefault(type(self._layer), {})  # a model has many of one configuration
        if key not in known:
            known[key] = self._in_each_dtype(self._is_normalized)
        return known[key]

    def roles(self, axes: _Axes) -> dict[int, str]:
        """Returns which weights read channels, by number of the variable: zeros in those are enough, in fewer not."""
        whole, count = self._built(self._width), self._counts[0]
        kept = self._kept(count)
        small = self._built(count)
        values, inputs = self._values(_any, {}), self._inputs(self._width, 1.0)
        _assign(small, _taken(values, axes, kept))
        part = self._run(small, self._cut(inputs, kept))
        reading = dict(axes)
        for index in axes:
            rest = {other: axis for other, axis in reading.items() if other != index}
            _assign(whole, self._zeroed(values, rest, kept))
            if self._same(self._part(self._run(whole, inputs), kept), part):
                reading = rest
        return {index: "in" if index in reading else "out" for index in axes}

    def slots(self, axes: _Axes, roles: Mapping[int, str]) -> tuple[tuple[str, int, str], ...]:
        """Returns the attributes that lead to weights, with an axis of each and its role."""
        paths = {id(each.variable): each.path for each in held_weights(self._layer)}
        return tuple((paths[id(self._layer.variables[index])], axis, roles[index]) for index, axis in axes.items())

    @property
    def _counts(self) -> list[int]:
        """The smaller widths that are tried."""
        return sorted({max(1, self._width // 2), self._width - 1})

    def _in_each_dtype(self, agree: _Agree) -> _Axes | None:
        """Returns the axes if a trial passes in the layer's own type, and in float32, where small effects show."""
        half = "16" in self._layer.compute_dtype and "dtype" in configuration(self._layer)
        found = []
        for self._dtype in ("float32", None) if half else (None,):
            found.append(self._axes(agree))
            if found[-1] is None:
                break
        return found[0] if all(each == found[0] for each in found) else None

    def _axes(self, agree: _Agree) -> _Axes | None:
        try:
            whole = self._built(self._width)
            found = []
            for count in self._counts:
                small = self._built(count)
                found.append(self._cut_axes(small, count))
                if found[-1] is None or not agree(whole, small, found[-1], self._kept(count)):
                    return None
        except Exception:  # it needs another setting, or has no smaller form
            return None
        return found[0] if all(each == found[0] for each in found) else None

    def _kept(self, count: int) -> np.ndarray:
        """Returns some channels; not the first one, which numbers in the input might mean."""
        return np.sort(1 + self._rng.choice(self._width - 1, count, replace=False))

    def _built(self, count: int) -> Any:
        changes: dict[str, Callable[[Any], Any]] = dict.fromkeys(self._settings, lambda old: count)
        if self._dtype is not None:
            changes["dtype"] = lambda old: self._dtype
        new = remade_layer(self._layer, changes)
        self._run(new, self._inputs(count, 0))
        return new

    def _inputs(self, count: int, scale: float) -> list[np.ndarray]:
        """Returns random inputs of a width; whole numbers where the layer takes these."""
        found = []
        for tensor, shape in zip(self._call.inputs, self._shapes, strict=True):
            sizes = [count if axis == self._reads else size for axis, size in enumerate(shape)]
            if keras.backend.is_float_dtype(tensor.dtype):
                found.append(self._rng.normal(0, 1, sizes) * scale)
            else:
                found.append(self._rng.integers(0, self._numbers if scale else 1, sizes).astype(np.float64))
        return found

    def _run(self, layer: Any, values: Sequence[np.ndarray]) -> np.ndarray:
        tensors = {}
        for tensor, value in zip(self._call.inputs, values, strict=True):
            own = self._dtype is None or not keras.backend.is_float_dtype(tensor.dtype)
            tensors[id(tensor)] = keras.ops.convert_to_tensor(value, tensor.dtype if own else self._dtype)
        arguments, named = self._call.arguments(tensors)
        return as_array(layer(*arguments, **(named | {"training": False} if takes_training(layer) else named)))

    def _cut_axes(self, small: Any, count: int) -> _Axes | None:
        axes: _Axes = {}
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

    def _same(self, found: np.ndarray, expected: np.ndarray) -> bool:
        return arrays_agree(found, expected, tolerance_of(self._computes_in))

    @property
    def _computes_in(self) -> str:
        return self._dtype or self._layer.compute_dtype

    def _steady(self, layer: Any, values: Sequence[np.ndarray]) -> np.ndarray | None:
        """Returns the result; None if it is another one the next time."""
        result, again = self._run(layer, values), self._run(layer, values)
        return result if np.array_equal(result, again, equal_nan=True) else None

    def _is_separate(self, whole: Any, small: Any, axes: _Axes, kept: np.ndarray) -> bool:
        """Returns whether some channels of the result are what the layer gives at that width."""
        return self._agree(whole, small, axes, kept, zeroed=False)

    def _is_read(self, whole: Any, small: Any, axes: _Axes, kept: np.ndarray) -> bool:
        """Returns whether the layer gives at a width what it gives with zeros in the weights of other channels."""
        return self._agree(whole, small, axes, kept, zeroed=True)

    def _agree(self, whole: Any, small: Any, axes: _Axes, kept: np.ndarray, *, zeroed: bool) -> bool:
        if zeroed and self._settings and not axes:
            return False  # they have nothing to do with the width
        self._numbers = next((number for number in _FIRST_NUMBERS if self._takes(whole, number)), 1)
        for draw in (None, _positive, _any):
            values = self._values(draw, {})
            _assign(whole, self._zeroed(values, axes, kept) if zeroed else values)
            _assign(small, _taken(values, axes, kept))
            for scale in SCALES:
                inputs = self._inputs(self._width, scale)
                result = self._steady(whole, inputs)
                part = self._run(small, self._cut(inputs, kept))
                if result is None or not self._same(part, self._part(result, kept)):
                    return False
        if not (zeroed and axes):
            return True
        _assign(whole, values)
        return not self._same(self._part(self._run(whole, inputs), kept), part)  # the weights matter

    def _zeroed(self, values: Sequence[np.ndarray], axes: _Axes, kept: np.ndarray) -> list[np.ndarray]:
        """Returns weights with zeros for channels that are not kept."""
        others = ~np.isin(np.arange(self._width), kept)
        return [_mixed(0 * value, value, axes.get(index), others) for index, value in enumerate(values)]

    def _part(self, result: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return result if self._made is None else np.take(result, kept, self._made)

    def _takes(self, layer: Any, number: int) -> bool:
        """Returns whether a layer takes whole numbers up to a given one."""
        self._numbers = number
        try:
            self._run(layer, self._inputs(self._width, 1.0))
        except Exception:  # such as an index that its table lacks
            return False
        return True

    def _cut(self, inputs: Sequence[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
        return list(inputs) if self._reads is None else [np.take(each, kept, self._reads) for each in inputs]

    def _values(self, draw: Any, axes: Mapping[int, int], count: int = 0) -> list[np.ndarray]:
        """Returns the layer's weights, or random ones; those with an axis of channels of a given width."""
        found = []
        for index, own in enumerate(self._layer.variables):
            value = as_array(own)
            shape = list(value.shape)
            if index in axes:
                shape[axes[index]] = count
            random = draw is not None and keras.backend.is_float_dtype(own.dtype)
            found.append(draw(self._rng, shape) if random else value)
        return found

    def _is_normalized(self, whole: Any, small: Any, axes: _Axes, kept: np.ndarray) -> bool:
        """Returns whether each vector of channels is scaled and shifted by its own statistics, at all widths alike.

        - The channels may change places, together with their weights.
        - The vectors do not depend on one another, nor on their places.
        - The result does not change with the scale of a vector.
        - Weights matter to their own channel only.
        - With the same weights for all channels, a vector is a multiple of the input and an offset.
        - A vector that consists of equal parts becomes equal parts, which are what the layer makes of one such part.
          So the statistics are means over channels, whatever the width, and the layer's own formula holds at each.
        """
        if any(prod(self._layer.variables[index].shape) != self._width for index in axes):
            return False
        count = len(kept)
        double = self._built(2 * count)
        layers = ((whole, self._width), (small, count))
        for draw in (_positive, _any):
            if not all(self._normalizes(layer, size, axes, draw) for layer, size in layers):
                return False
            if not self._repeats((double, 2 * count), (small, count), axes, draw):
                return False
            if not self._repeats(*layers, axes, draw):
                return False
        return True

    def _normalizes(self, layer: Any, count: int, axes: _Axes, draw: Any) -> bool:
        values = self._values(draw, axes, count)
        (inputs,) = self._inputs(count, 4.0)
        channels = self._rng.permutation(count)
        _assign(layer, values)
        result = self._steady(layer, [inputs])
        if result is None or result.shape != inputs.shape:
            return False
        for axis, size in enumerate(inputs.shape):
            places = self._rng.permutation(size)[: max(1, size - 1)]
            if axis == self._reads:
                continue
            if not self._same(self._run(layer, [np.take(inputs, places, axis)]), np.take(result, places, axis)):
                return False
        scales = (4.0, 16.0) if self._computes_in == "float16" else (2.0**10, 2.0**14)  # squares must not be infinite
        wide = [self._run(layer, [inputs * scale]) for scale in scales]
        if not self._same(*wide):
            return False
        _assign(layer, _taken(values, axes, channels))
        if not self._same(
            self._run(layer, [np.take(inputs, channels, self._reads)]), np.take(result, channels, self._made)
        ):
            return False
        others = [
            other if index in axes else value
            for index, (value, other) in enumerate(zip(values, self._values(draw, axes, count), strict=True))
        ]
        first = np.arange(count) < max(1, count // 2)
        _assign(
            layer,
            [_mixed(*pair, axes.get(index), first) for index, pair in enumerate(zip(values, others, strict=True))],
        )
        if not self._same(
            np.compress(first, self._run(layer, [inputs]), self._made), np.compress(first, result, self._made)
        ):
            return False
        _assign(layer, _taken(values, axes, np.zeros(count, int)))
        return self._is_line(inputs, self._run(layer, [inputs]))

    def _is_line(self, inputs: np.ndarray, result: np.ndarray) -> bool:
        """Returns whether each vector of a result is a multiple of that of the input, and an offset."""
        x, y = (np.moveaxis(np.asarray(each, np.float64), self._made or -1, -1) for each in (inputs, result))
        centered = x - x.mean(-1, keepdims=True)
        squares = np.square(centered).sum(-1, keepdims=True)
        slope = (centered * y).sum(-1, keepdims=True) / np.maximum(squares, 1e-12)
        return self._same(y, y.mean(-1, keepdims=True) + slope * centered)

    def _repeats(self, one: tuple[Any, int], other: tuple[Any, int], axes: _Axes, draw: Any) -> bool:
        """Returns whether two widths of a layer do the same with vectors that consist of the same equal parts."""
        part = gcd(one[1], other[1])
        values, (inputs,) = self._values(draw, axes, part), self._inputs(part, 4.0)
        if part == 1:  # the mean must be exact, as the layer multiplies any difference from it by a large number
            if "16" in self._computes_in:
                return True
            inputs = np.round(inputs * 8) / 8
        results = []
        for layer, count in (one, other):
            order = np.tile(np.arange(part), count // part)
            _assign(layer, _taken(values, axes, order))
            result = self._run(layer, [np.take(inputs, order, self._reads)])
            results.append(np.take(result, np.arange(part), self._made))
            if not self._same(result, np.take(results[-1], order, self._made)):
                return False
        return self._same(*results)


def _assign(layer: Any, values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(layer.variables, values, strict=True):
        variable.assign(value)


def _taken(values: Sequence[np.ndarray], axes: Mapping[int, int], places: np.ndarray) -> list[np.ndarray]:
    """Returns weights with some of their channels."""
    return [np.take(value, places, axes[index]) if index in axes else value for index, value in enumerate(values)]


def _mixed(value: np.ndarray, other: np.ndarray, axis: int | None, first: np.ndarray) -> np.ndarray:
    """Returns a weight in which some channels have their value, and the others have another one."""
    if axis is None:
        return other
    shape = [1] * value.ndim
    shape[axis] = -1
    return np.where(first.reshape(shape), value, other)


def _positive(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return rng.uniform(0.5, 1.5, shape)


def _any(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return rng.normal(0, 1, shape)
