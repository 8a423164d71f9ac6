"""Slimming: cutting masked channels out of a model, or out of the weights of one sub-network."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import truth
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.cutter import Cutter, norm_ratio
from tfprune.graph.execute import takes_weights
from tfprune.graph.labels import PINNED, kept_positions, weight_at
from tfprune.graph.model_widths import model_widths
from tfprune.graph.rebuild import rebuild
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
        A new model of the same layers with smaller weights. A model of a class of its own is made by this class from
        its configuration where that can say the new widths; else it is a copy of its graph, see `graph.model_class`.

    Raises:
        UnsupportedLayerError: The length of the mask is not the number of prunable channels, or the mask leaves a layer
            without channels.
    """
    if not isinstance(groups, ChannelGroups | None):
        raise ConfigError(f"groups: expected the channel groups of the model, received {described(groups)}")
    rescale_kernels = truth("rescale_kernels", rescale_kernels)
    groups = channel_groups(model) if groups is None else groups
    mask = checked_mask(mask, groups)
    cutter = Cutter(groups.by_layer, mask, rescale=rescale_kernels)
    return rebuild(
        model,
        cutter.layer,
        cutter.call if cutter.edits_arguments else None,
        cutter.weight,
        make_operation=cutter.operation,
        keep_class=True,
        expand=groups.expanded(mask),
        widths=model_widths(model, cutter.shape),
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
