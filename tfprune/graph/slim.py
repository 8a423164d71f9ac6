"""Cutting masked channels out of a model: a smaller model with the same outputs."""

from typing import Any

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.channel_groups import ChannelGroups, Slot, channel_groups
from tfprune.graph.convert import rebuild

_WIDTH_KEYS = ("filters", "units")


def slim(
    model: keras.Model,
    mask: np.ndarray,
    groups: ChannelGroups | None = None,
    *,
    rescale_kernels: bool = False,
) -> keras.Model:
    """Copies a model without the channels that are masked.

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
    mask = np.asarray(mask, bool)
    if mask.shape != (groups.channels,):
        raise UnsupportedLayerError(
            f"expected a mask over the model's {groups.channels} prunable channels, received shape {mask.shape}"
        )
    empty = [group.name for group in groups if not mask[group.channels].any()]
    if empty:
        raise UnsupportedLayerError(f"the mask leaves no channel in {', '.join(empty)}; keep at least one of each")

    def narrower(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        made = next((slot for slot in groups.slots.get(layer.name, ()) if slot.role == "out"), None)
        if made is not None:
            width = next(key for key in _WIDTH_KEYS if key in config)
            config[width] = len(made.kept(mask))
        config.pop("build_config", None)
        return type(layer).from_config(config)

    def cut(layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
        slots = [slot for slot in groups.slots.get(layer.name, ()) if getattr(layer, slot.weight) is variable]
        return cut_weight(np.asarray(variable), slots, mask, rescale=rescale_kernels and variable.name == "kernel")

    return rebuild(model, narrower, weights=cut)


def cut_weight(array: np.ndarray, slots: Any, mask: np.ndarray, *, rescale: bool = False) -> np.ndarray:
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
    slot: Slot
    for slot in slots:
        small = np.take(small, slot.kept(mask), axis=slot.axis)
    if rescale and small.size != array.size:
        small = small * norm_ratio(array, small)
    return small


def norm_ratio(whole: np.ndarray, part: np.ndarray) -> np.float32:
    """Factor that brings `part` to the Frobenius norm of `whole` as `ops.masked_kernel` does."""
    squares = np.maximum(np.sum(np.square(part, dtype=np.float32)), np.float32(1e-12))
    return np.float32(np.sqrt(np.sum(np.square(whole, dtype=np.float32))) / np.sqrt(squares))
