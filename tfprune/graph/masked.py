"""A model at full width in which masked channels have no effect: the reference for slimmed models."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from tfprune.graph.calls import Call
from tfprune.graph.channel_groups import ChannelGroups
from tfprune.graph.labels import Axes, Slot, kept_positions, weight_at
from tfprune.graph.layer_copies import copied_layer, remade_layer
from tfprune.graph.rebuild import copy_operation, rebuild
from tfprune.graph.rules.layer_trials import tried
from tfprune.graph.rules.lookup import channel_axis, has_rule
from tfprune.graph.rules.products import SUMMING
from tfprune.graph.slim import checked_mask
from tfprune.keras_private import inferred_spec


def masked(model: keras.Model, mask: np.ndarray, groups: ChannelGroups) -> keras.Model:
    """Copies a model at full width, in which nothing reads the masked channels.

    Every kernel has zeros where it would read a masked channel. Layers and operations that sum over channels are given
    zeros there, and normalizations over channels use the statistics of the other channels.

    Args:
        model: A functional or sequential model. It is not changed.
        mask: Bool `[channels]`, True for the channels to keep.
        groups: The model's channel groups.

    Returns:
        A model of the same shapes, with the outputs of `slim(model, mask, groups)`. It is meant for comparison: it is
        not faster, and cannot be saved if normalizations were replaced. If layers had to be opened that need to know
        sizes, it takes as many examples and positions as `groups.graph.sizes` says.

    Raises:
        UnsupportedLayerError: The mask does not fit the groups.
    """
    mask = checked_mask(mask, groups)
    reading: dict[int, list[Slot]] = {}
    kept: dict[int, list[np.ndarray]] = {}
    normalized: dict[int, Call] = {}
    operands: dict[int, list[np.ndarray]] = {}
    for each in groups.by_layer.values():
        for slot in each.slots:
            if slot.role == "in":
                reading.setdefault(id(weight_at(each.layer, slot.weight)), []).append(slot)
    for call in groups.calls:
        if _is_tried_normalization(call):
            normalized[id(call.layer)] = call
        elif type(_applied(call.layer)) in _KEPT:
            kept[id(call.layer)] = [_box(groups.axes(tensor), mask) for tensor in call.inputs]
        elif isinstance(call.layer, SUMMING):
            operands[id(call.layer)] = [_box(_summed(groups, call, tensor), mask) for tensor in call.inputs]
    zeroed: dict[int, list[np.ndarray]] = {}

    def make(layer: keras.Layer) -> keras.Layer:
        if id(layer) in normalized:
            return _KeptChannels.of(normalized[id(layer)], groups, mask)
        if id(layer) not in kept:
            return copied_layer(layer)
        inner, boxes = _applied(layer), kept[id(layer)]
        if inner is layer:
            return _KEPT[type(layer)](*boxes, config=layer.get_config())
        timed = _KEPT[type(inner)](boxes[0].reshape(1, *boxes[0].shape[2:]), config=inner.get_config())
        return keras.layers.TimeDistributed(timed, name=layer.name, dtype=layer.dtype_policy)

    def make_operation(operation: keras.Operation) -> keras.Operation:
        new = copy_operation(operation)
        zeroed[id(new)] = operands.get(id(operation), [])
        return new

    def apply(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        boxes = iter(zeroed.get(id(layer), []))
        given = keras.tree.map_structure(lambda value: _times(value, boxes), (args, kwargs))
        return layer(*given[0], **given[1])

    def weight(layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
        array = np.asarray(variable).copy()
        for slot in reading.get(id(variable), ()):
            np.moveaxis(array, slot.axis, 0)[~kept_positions(slot.channels, mask)] = 0
        return array

    opened, sizes = groups.graph.opened, groups.graph.sizes
    return rebuild(
        model,
        make,
        apply if operands else None,
        weight,
        make_operation=make_operation,
        expand=opened,
        sizes=sizes,
    )


def _is_tried_normalization(call: Call) -> bool:
    found = None if has_rule(call.layer) else tried(call)
    return found is not None and found.kind == "normalized"


def _applied(layer: Any) -> Any:
    """Returns a layer, or the one that it applies at each point in time."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def _summed(groups: ChannelGroups, call: Call, tensor: keras.KerasTensor) -> Axes:
    """Returns the channels along the axes of an operand over which an operation sums."""
    noted = [axis for edit in groups.by_layer[call.name].edits for axis in edit.axes if axis is not None]
    return tuple(
        axis if axis is not None and any(np.array_equal(axis, each) for each in noted) else None
        for axis in groups.axes(tensor)
    )


def _times(value: Any, boxes: Iterator[np.ndarray]) -> Any:
    """Returns a tensor with zeros at masked positions; anything else as it is."""
    if not isinstance(value, keras.KerasTensor):
        return value
    box = next(boxes, None)
    return value if box is None or (box == 1).all() else value * ops.cast(box, value.dtype)


def _box(axes: Axes, mask: np.ndarray) -> np.ndarray:
    """Returns which positions of a tensor with these channels along its axes are kept, float32, of its rank."""
    rank = len(axes) + 1
    box = np.ones([1] * rank, np.float32)
    for axis, channels in enumerate(axes, start=1):
        if channels is not None:
            shape = [1] * rank
            shape[axis] = len(channels)
            box = box * kept_positions(channels, mask).reshape(shape)
    return box


class _KeptChannels(keras.layers.Layer):
    """A layer without a rule, made again at the smaller width, on the kept channels; zeros elsewhere.

    Args:
        small: The smaller layer, with its weights, which are constants here.
        kept: Bool `[channels]`.
        axis: Their axis.
        name: Name of the layer that it stands for.
    """

    def __init__(self, small: keras.Layer, kept: np.ndarray, axis: int, name: str) -> None:
        super().__init__(name=name, dtype=small.dtype_policy)
        self._small = lambda: small  # Keras must not take its weights for those of the whole layer
        self._kept, self._axis = kept, axis

    @classmethod
    def of(cls, call: Call, groups: ChannelGroups, mask: np.ndarray) -> keras.Layer:
        """Makes what stands for the layer of a call: a copy of it, if it keeps all channels."""
        layer: Any = call.layer
        (tensor,) = call.inputs
        axis = 1 + channel_axis(layer, tensor)
        channels = groups.axes(tensor)[axis - 1]
        if channels is None or (kept := kept_positions(channels, mask)).all():
            return copied_layer(layer)
        edits = groups.by_layer[call.name].edits
        small = remade_layer(layer, {edit.key: partial(edit.value, mask=mask) for edit in edits})
        sizes = [int(kept.sum()) if place == axis else size or 1 for place, size in enumerate(tensor.shape)]
        arguments, named = call.arguments({id(tensor): ops.zeros(sizes, tensor.dtype)})
        small(*arguments, **named)
        for old, new in zip(layer.variables, small.variables, strict=True):
            array = np.asarray(old)
            for place, size in enumerate(array.shape):
                array = array if size == new.shape[place] else np.compress(kept, array, place)
            new.assign(array)
        return cls(small, kept, axis, layer.name)

    def call(self, inputs: Any, *others: Any, **named: Any) -> Any:
        result = self._small()(ops.take(inputs, np.flatnonzero(self._kept), self._axis), *others, **named)
        zero = ops.zeros_like(ops.take(result, [0], self._axis))
        places = np.where(self._kept, np.cumsum(self._kept) - 1, self._kept.sum())
        return ops.take(ops.concatenate([result, zero], self._axis), places, self._axis)

    def compute_output_spec(self, *inputs: Any, **named: Any) -> Any:
        return inferred_spec(self.call, *inputs, **named)


class _KeptLayerNormalization(keras.layers.LayerNormalization):
    def __init__(self, kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept

    def call(self, inputs: Any) -> Any:
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        kept = ops.broadcast_to(self._kept, ops.shape(inputs))
        count = _at_least_one(ops.sum(kept, axes, keepdims=True))
        mean = ops.sum(inputs * kept, axes, keepdims=True) / count
        variance = ops.sum(ops.square(inputs - mean) * kept, axes, keepdims=True) / count
        normalized = {axis % len(inputs.shape) for axis in axes}
        shape = [size if axis in normalized else 1 for axis, size in enumerate(inputs.shape)]
        result = (inputs if self.rms_scaling else inputs - mean) * ops.rsqrt(variance + self.epsilon)
        if self.gamma is not None:
            result = result * ops.reshape(self.gamma, shape)
        return result if self.beta is None else result + ops.reshape(self.beta, shape)


class _KeptRMSNormalization(keras.layers.RMSNormalization):
    def __init__(self, kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept

    def call(self, inputs: Any) -> Any:
        kept = ops.broadcast_to(self._kept, ops.shape(inputs))
        total = ops.sum(ops.square(inputs) * kept, self.axis, keepdims=True)
        count = _at_least_one(ops.sum(kept, self.axis, keepdims=True))
        return inputs * ops.rsqrt(total / count + self.epsilon) * self.scale


class _KeptUnitNormalization(keras.layers.UnitNormalization):
    def __init__(self, kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept

    def call(self, inputs: Any) -> Any:
        return inputs * ops.rsqrt(
            ops.maximum(ops.sum(ops.square(inputs * self._kept), self.axis, keepdims=True), 1e-12)
        )


class _KeptGroupNormalization(keras.layers.GroupNormalization):
    def __init__(self, kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept

    def call(self, inputs: Any) -> Any:
        axis = self.axis % len(inputs.shape)
        last = ops.moveaxis(inputs, axis, -1)
        kept = ops.broadcast_to(np.moveaxis(self._kept, axis, -1), ops.shape(last))
        grouped = (-1, int(np.prod(last.shape[1:-1], dtype=int)), self.groups, last.shape[-1] // self.groups)
        values, weights = ops.reshape(last, grouped), ops.reshape(kept, grouped)
        count = _at_least_one(ops.sum(weights, (1, 3), keepdims=True))
        mean = ops.sum(values * weights, (1, 3), keepdims=True) / count
        variance = ops.sum(ops.square(values - mean) * weights, (1, 3), keepdims=True) / count
        result = ops.reshape((values - mean) * ops.rsqrt(variance + self.epsilon), ops.shape(last))
        result = result * self.gamma if self.scale else result
        return ops.moveaxis(result + self.beta if self.center else result, -1, axis)


def _at_least_one(count: Any) -> Any:
    """Avoids a division by zero where nothing is kept; nothing reads the result there."""
    return ops.maximum(count, 1)


class _Comparing:
    """Attention that compares queries and keys by the kept channels only; Keras looks for the names of arguments."""

    def __init__(self, *kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept[0].reshape(-1, kept[0].shape[-1])[0]  # all positions of a query are kept

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, *keys = inputs
        key = keys[0] if keys else value
        operands = [query * self._kept, value, key * self._kept]
        return super().call(operands, mask, training, return_attention_scores, use_causal_mask)  # type: ignore[misc]


class _KeptAttention(_Comparing, keras.layers.Attention):
    pass


class _KeptAdditiveAttention(_Comparing, keras.layers.AdditiveAttention):
    pass


class _KeptDot(keras.layers.Dot):
    def __init__(self, *kept: np.ndarray, config: dict[str, Any]) -> None:
        super().__init__(**config)
        self._kept = kept

    def call(self, inputs: Any) -> Any:
        return super().call([each * kept for each, kept in zip(inputs, self._kept, strict=True)])


_KEPT: dict[type, Any] = {
    keras.layers.LayerNormalization: _KeptLayerNormalization,
    keras.layers.RMSNormalization: _KeptRMSNormalization,
    keras.layers.UnitNormalization: _KeptUnitNormalization,
    keras.layers.GroupNormalization: _KeptGroupNormalization,
    keras.layers.Attention: _KeptAttention,
    keras.layers.AdditiveAttention: _KeptAdditiveAttention,
    keras.layers.Dot: _KeptDot,
}
