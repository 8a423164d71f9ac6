"""The weights of a sub-network, cut out of the whole model's for one run, without building a new model."""

from operator import attrgetter

import keras
import numpy as np
import tensorflow as tf

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroups
from tfprune.graph.execute import takes_weights
from tfprune.graph.layer_channels import PINNED
from tfprune.graph.slim import norm_ratio

ALIGNMENT = {"float32": 8, "bfloat16": 16}
"""Channels are filled up with zeros to a multiple of this, because oneDNN's batch norm is several times slower else."""


class SlimWeights:
    """Cuts the weights of a sub-network out of those of a model.

    Where channels are missing, a kernel is rescaled to the norm it had whole, as EKG's masked layers do. Every run of
    kept channels is filled up with zero channels to a multiple that the processor likes; zero kernels with zero scale
    and offset give zero channels, so the outputs are the same.

    Args:
        model: A functional model. Its weights are read once, here.
        groups: Its channel groups.
        dtype: `float32` or `bfloat16`, for the kernels of convolutions; all else stays float32.
        alignment: Fill channels up to a multiple of this. Default: what suits the processor.
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
        """Attribute names of the weights that a call needs, in the order in which `tensors` gives them."""
        return self._names.get(call.name, ())

    def tensors(self, call: Call, mask: np.ndarray) -> tuple[tf.Tensor, ...]:
        """The weights of a call in the sub-network where `mask` (bool `[channels]`) keeps its channels."""
        slots = self._groups.slots_of(call.name)
        layouts = {(slot.weight, slot.axis): self.layout(slot.channels, mask) for slot in slots}
        key = (call.name, b"|".join(layout.tobytes() for layout in layouts.values()))
        if key not in self._cache:
            self._cache[key] = tuple(self._cut(call, name, layouts) for name in self.names(call))
        return self._cache[key]

    def flexible_axes(self, call: Call, name: str) -> tuple[int, ...]:
        """The axes, negative, of a call's weight whose size depends on the sub-network."""
        slots = self._groups.slots_of(call.name)
        return tuple(slot.axis for slot in slots if slot.weight == name and np.any(slot.channels != PINNED))

    def layout(self, channels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Which position of the whole axis each position of the cut and filled one holds; -1 for filling."""
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
            self._arrays[call.name, name] = np.asarray(attrgetter(name)(call.layer))

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
