"""Cutting masked channels out of a model: a smaller model with the same outputs."""

from collections.abc import Iterable
from functools import partial
from operator import attrgetter
from typing import Any

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.copied_layer import copied_layer
from tfprune.graph.layer_channels import Edit, LayerChannels, Slot, staying
from tfprune.graph.rebuild import copy_operation, rebuild


def slim(
    model: keras.Model,
    mask: np.ndarray,
    groups: ChannelGroups | None = None,
    *,
    rescale_kernels: bool = False,
) -> keras.Model:
    """Copies a model without the channels that are masked.

    What the remaining channels compute stays the same, with one exception that lies in the layers: normalisation over
    channels (layer and group normalisation) then takes its statistics over the channels that stay.

    Args:
        model: A functional or sequential model of plain layers. It is not changed.
        mask: Bool `[channels]`, True for the prunable channels to keep, in the numbering of `groups`.
        groups: The model's channel groups. Default: they are found anew.
        rescale_kernels: Scale every kernel that loses channels to the norm that it had whole, as EKG's masked layers
            do.

    Returns:
        A new model of the same layers with smaller weights.

    Raises:
        UnsupportedLayerError: The mask has another length than the model has prunable channels, or it leaves a layer
            without any channel.
    """
    groups = groups or channel_groups(model)
    mask = checked_mask(mask, groups)
    cutter = _Cutter(groups, mask, rescale_kernels)
    return rebuild(
        model,
        cutter.layer,
        cutter.call if cutter.edits_arguments else None,
        cutter.weight,
        make_operation=cutter.operation,
    )


def checked_mask(mask: Any, groups: ChannelGroups) -> np.ndarray:
    """A mask as bool `[channels]`; `UnsupportedLayerError` if it does not fit the groups or empties a layer."""
    mask = np.asarray(mask, bool)
    if mask.shape != (groups.channels,):
        raise UnsupportedLayerError(
            f"expected a mask over the model's {groups.channels} prunable channels, received shape {mask.shape}"
        )
    empty = [group.name for group in groups if not mask[group.channels].any()]
    empty += [
        name
        for name, each in groups.by_layer.items()
        if any(not staying(slot.channels, mask).any() for slot in each.slots)
    ]
    if empty:
        names = ", ".join(dict.fromkeys(empty))
        raise UnsupportedLayerError(f"the mask leaves no channel in {names}; keep at least one of each")
    return mask


class _Cutter:
    """Makes the small layers of one model and one mask."""

    def __init__(self, groups: ChannelGroups, mask: np.ndarray, rescale: bool) -> None:
        self._mask, self._rescale = mask, rescale
        self._channels = {id(each.layer): each for each in groups.by_layer.values()}
        self._slots = {id(each.layer): _by_variable(each) for each in groups.by_layer.values()}
        self._arguments: dict[int, list[Edit]] = {}
        self.edits_arguments = any(edit.argument for each in groups.by_layer.values() for edit in each.edits)

    def layer(self, layer: keras.Layer) -> keras.Layer:
        return copied_layer(layer, {edit.key: partial(edit.value, mask=self._mask) for edit in self._of(layer).edits})

    def operation(self, operation: keras.Operation) -> keras.Operation:
        edits = self._of(operation).edits
        settings = [edit for edit in edits if not edit.argument]
        if settings:
            config = operation.get_config()
            for edit in settings:
                config[edit.key] = edit.value(config[edit.key], self._mask)
            return type(operation).from_config(config)
        new = copy_operation(operation)
        if edits:
            self._arguments[id(new)] = list(edits)
        return new

    def call(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Applies a new layer or operation; arguments that say which channels to take are adapted."""
        for edit in self._arguments.get(id(operation), ()):
            tensor, old = args
            args = (tensor, edit.value(old, self._mask))
        return operation(*args, **kwargs)

    def weight(self, layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
        array = np.asarray(variable)
        slots = self._slots[id(layer)].get(id(variable), []) if id(layer) in self._slots else []
        small = cut_weight(array, slots, self._mask, rescale=self._rescale and "kernel" in variable.name)
        for weight, channels in self._of(layer).scales:
            if attrgetter(weight)(layer) is variable:
                small = small * np.sqrt(staying(channels, self._mask).mean(), dtype=np.float32)
        return small

    def _of(self, layer: keras.Operation) -> LayerChannels:
        return self._channels.get(id(layer)) or LayerChannels(layer)


def _by_variable(channels: LayerChannels) -> dict[int, list[Slot]]:
    found: dict[int, list[Slot]] = {}
    for slot in channels.slots:
        found.setdefault(id(attrgetter(slot.weight)(channels.layer)), []).append(slot)
    return found


def cut_weight(array: np.ndarray, slots: Iterable[Slot], mask: np.ndarray, *, rescale: bool = False) -> np.ndarray:
    """Takes the kept channels of one weight.

    Args:
        array: The whole weight.
        slots: Those of its axes that run over channels.
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
    """Factor that brings `part` to the Frobenius norm of `whole` as `ops.masked_kernel` does."""
    squares = np.maximum(np.sum(np.square(part, dtype=np.float32)), np.float32(1e-12))
    return np.float32(np.sqrt(np.sum(np.square(whole, dtype=np.float32))) / np.sqrt(squares))
