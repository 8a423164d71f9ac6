"""Slimming: cutting masked channels out of a model, or out of the weights of one sub-network."""

from collections.abc import Iterable
from functools import partial
from inspect import signature
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import truth
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.execute import takes_weights
from tfprune.graph.labels import PINNED, Edit, LayerChannels, Slot, kept_positions, weight_at
from tfprune.graph.layer_copies import copied_layer, remade_layer
from tfprune.graph.rebuild import copy_operation, rebuild
from tfprune.reprs import described

ALIGNMENT = {"float32": 8, "bfloat16": 16}
"""Channels are padded with zeros to a multiple of this: oneDNN's batch norm is several times slower on other counts."""


def slim(
    model: keras.Model,
    mask: np.ndarray,
    groups: ChannelGroups | None = None,
    *,
    rescale_kernels: bool = False,
) -> keras.Model:
    """Copies a model without the channels that are masked.

    The remaining channels compute the same as before, with one exception: normalization over channels (layer and group
    normalization) uses the statistics of the remaining channels only.

    Args:
        model: A functional or sequential model of plain layers. It is not changed.
        mask: Bool `[channels]`, True for the prunable channels to keep, in the numbering of `groups`.
        groups: The model's channel groups. Default: `channel_groups(model)`.
        rescale_kernels: Scale every kernel that loses channels to the norm of the whole kernel, as EKG's masked layers
            do.

    Returns:
        A new model of the same layers with smaller weights.

    Raises:
        UnsupportedLayerError: The length of the mask is not the number of prunable channels, or the mask leaves a layer
            without channels.
    """
    if not isinstance(groups, ChannelGroups | None):
        raise ConfigError(f"groups: expected the channel groups of the model, received {described(groups)}")
    rescale_kernels = truth("rescale_kernels", rescale_kernels)
    groups = channel_groups(model) if groups is None else groups
    mask = checked_mask(mask, groups)
    cutter = _Cutter(groups, mask, rescale_kernels)
    return rebuild(
        model,
        cutter.layer,
        cutter.call if cutter.edits_arguments else None,
        cutter.weight,
        make_operation=cutter.operation,
        keep_class=True,
    )


def checked_mask(mask: Any, groups: ChannelGroups) -> np.ndarray:
    """Returns a mask as bool `[channels]`.

    Raises:
        UnsupportedLayerError: It does not fit the groups, or leaves a layer without channels.
    """
    try:
        mask = np.asarray(mask, bool)
    except (ValueError, TypeError) as error:
        raise UnsupportedLayerError(
            f"expected a mask over the model's {groups.channels} prunable channels, received {described(mask)}"
        ) from error
    if mask.shape != (groups.channels,):
        raise UnsupportedLayerError(
            f"expected a mask over the model's {groups.channels} prunable channels, received shape {mask.shape}"
        )
    empty = [group.name for group in groups if not mask[group.channels].any()]
    empty += [
        name for name, each in groups.by_layer.items() if any(_emptied(slot.channels, mask) for slot in each.slots)
    ]
    empty += [name for name, channels in groups.named_axes() if _emptied(channels, mask)]
    if empty:
        names = ", ".join(dict.fromkeys(empty))
        raise UnsupportedLayerError(f"the mask leaves no channel in {names}; keep at least one of each")
    return mask


def _emptied(channels: np.ndarray, mask: np.ndarray) -> bool:
    """Returns whether a mask keeps nothing of an axis that has something."""
    return len(channels) > 0 and not kept_positions(channels, mask).any()


class _Cutter:
    """Makes the small layers of one model and one mask."""

    def __init__(self, groups: ChannelGroups, mask: np.ndarray, rescale: bool) -> None:
        self._mask, self._rescale = mask, rescale
        self._channels = {id(each.layer): each for each in groups.by_layer.values()}
        self._slots = {id(each.layer): _by_variable(each) for each in groups.by_layer.values()}
        self._arguments: dict[int, list[Edit]] = {}
        self.edits_arguments = any(edit.argument for each in groups.by_layer.values() for edit in each.edits)

    def layer(self, layer: keras.Layer) -> keras.Layer:
        record = self._of(layer)
        axes = [*(axis for edit in record.edits for axis in edit.axes), *(slot.channels for slot in record.slots)]
        if any(axis is not None and np.any(axis != PINNED) for axis in axes):
            return remade_layer(layer, {edit.key: partial(edit.value, mask=self._mask) for edit in record.edits})
        return copied_layer(layer)

    def operation(self, operation: keras.Operation) -> keras.Operation:
        edits = self._of(operation).edits
        settings = {edit.key: partial(edit.value, mask=self._mask) for edit in edits if not edit.argument}
        new = copy_operation(operation, settings)
        self._arguments[id(new)] = [edit for edit in edits if edit.argument]
        return new

    def call(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Applies a new layer or operation; arguments that depend on channels are adapted."""
        edits = self._arguments.get(id(operation), ())
        if not edits:
            return operation(*args, **kwargs)
        given = signature(operation.call).bind(*args, **kwargs)
        for edit in edits:
            given.arguments[edit.key] = edit.value(given.arguments.get(edit.key), self._mask)
        return operation(*given.args, **given.kwargs)

    def weight(self, layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
        array = np.asarray(variable)
        slots = self._slots[id(layer)].get(id(variable), []) if id(layer) in self._slots else []
        small = cut_weight(array, slots, self._mask, rescale=self._rescale and "kernel" in variable.name)
        for weight, channels in self._of(layer).scales:
            if weight_at(layer, weight) is variable:
                small = small * np.sqrt(kept_positions(channels, self._mask).mean(), dtype=np.float32)
        return small

    def _of(self, layer: keras.Operation) -> LayerChannels:
        return self._channels.get(id(layer)) or LayerChannels(layer)


def _by_variable(channels: LayerChannels) -> dict[int, list[Slot]]:
    found: dict[int, list[Slot]] = {}
    for slot in channels.slots:
        found.setdefault(id(weight_at(channels.layer, slot.weight)), []).append(slot)
    return found


def cut_weight(array: np.ndarray, slots: Iterable[Slot], mask: np.ndarray, *, rescale: bool = False) -> np.ndarray:
    """Cuts the kept channels out of one weight.

    Args:
        array: The whole weight.
        slots: Its axes that run over channels.
        mask: Bool `[channels]`.
        rescale: Scale the result to the Frobenius norm of the whole weight.

    Returns:
        The smaller weight.
    """
    small = array
    for slot in slots:
        small = np.take(small, slot.kept(mask), axis=slot.axis)
    if rescale and small.size != array.size:
        small = small * norm_ratio(array, small)
    return small


def norm_ratio(whole: np.ndarray, part: np.ndarray) -> np.float32:
    """Returns the factor that scales `part` to the Frobenius norm of `whole`, as `ops.masked_kernel` does."""
    squares = np.maximum(np.sum(np.square(part, dtype=np.float32)), np.float32(1e-12))
    return np.float32(np.sqrt(np.sum(np.square(whole, dtype=np.float32))) / np.sqrt(squares))


class SlimWeights:
    """The weights of sub-networks, cut out of those of a model.

    Where channels are missing, a kernel is rescaled to the norm of the whole kernel, as EKG's masked layers do. Every
    run of kept channels is padded with zero channels to a multiple on which processors are fast; zero kernels with zero
    scale and offset give zero channels, so the outputs are the same.

    Args:
        model: A functional model. Its weights are read once, here.
        groups: Its channel groups.
        dtype: `float32` or `bfloat16`, for the kernels of convolutions; all others are float32.
        alignment: Pad channels to a multiple of this. Default: `ALIGNMENT`.
    """

    def __init__(
        self, model: keras.Model, groups: ChannelGroups, dtype: str = "float32", alignment: int | None = None
    ) -> None:
        self._groups = groups
        self._owner = groups.owner
        self._alignment = alignment or ALIGNMENT[dtype]
        self._dtype = dtype
        self._names: dict[str, tuple[str, ...]] = {}
        self._arrays: dict[tuple[str, str], np.ndarray] = {}
        self._cache: dict[tuple[str, bytes], tuple[tf.Tensor, ...]] = {}
        for call in model_calls(model):
            self._read(call)

    def names(self, call: Call) -> tuple[str, ...]:
        """Returns the attributes of the weights that a call needs, in the order of `tensors`."""
        return self._names.get(call.name, ())

    def tensors(self, call: Call, mask: np.ndarray) -> tuple[tf.Tensor, ...]:
        """Returns the weights of a call in a sub-network.

        Args:
            call: The call.
            mask: Bool `[channels]`, True for the channels to keep.
        """
        slots = self._groups.slots_of(call.name)
        layouts = {(slot.weight, slot.axis): self.layout(slot.channels, mask) for slot in slots}
        key = (call.name, b"|".join(layout.tobytes() for layout in layouts.values()))
        if key not in self._cache:
            self._cache[key] = tuple(self._cut(call, name, layouts) for name in self.names(call))
        return self._cache[key]

    def flexible_axes(self, call: Call, name: str) -> tuple[int, ...]:
        """Returns the axes, negative, of a call's weight whose size depends on the sub-network."""
        slots = self._groups.slots_of(call.name)
        return tuple(slot.axis for slot in slots if slot.weight == name and np.any(slot.channels != PINNED))

    def layout(self, channels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Returns the position in the whole axis of each position of the cut and padded one; -1 for padding.

        Args:
            channels: Channel numbers along the whole axis.
            mask: Bool `[channels of the model]`, True for the channels to keep.
        """
        owner = np.where(channels == PINNED, PINNED, self._owner[channels]) if len(self._groups) else channels
        starts = np.flatnonzero((np.diff(owner) != 0) | ((np.diff(channels) <= 0) & (owner[1:] != PINNED))) + 1
        parts = []
        for block in np.split(np.arange(len(channels)), starts):
            if channels[block[0]] == PINNED:
                parts.append(block)
                continue
            kept = block[mask[channels[block]]]
            parts.append(np.pad(kept, (0, -len(kept) % self._alignment), constant_values=-1))
        return np.concatenate(parts)

    def forget(self) -> None:
        """Drops the cached tensors."""
        self._cache.clear()

    def _read(self, call: Call) -> None:
        slots = self._groups.slots_of(call.name)
        names = tuple(
            dict.fromkeys(slot.weight for slot in slots if slot.weight not in ("moving_mean", "moving_variance"))
        )
        if not takes_weights(call.layer):
            return
        if names:
            self._names[call.name] = names
        for name in names:
            self._arrays[call.name, name] = np.asarray(weight_at(call.layer, name))

    def _cut(self, call: Call, name: str, layouts: dict[tuple[str, int], np.ndarray]) -> tf.Tensor:
        whole = self._arrays[call.name, name]
        part = whole
        for (weight, axis), layout in layouts.items():
            if weight == name:
                part = np.take(part, np.maximum(layout, 0), axis=axis)
                part = np.moveaxis(np.where(layout >= 0, np.moveaxis(part, axis, -1), 0), -1, axis)
        if "kernel" in name:
            part = part * norm_ratio(whole, part)
        convolves = "kernel" in name and whole.ndim > 2
        return tf.constant(part, tf.as_dtype(self._dtype) if convolves else tf.float32)
