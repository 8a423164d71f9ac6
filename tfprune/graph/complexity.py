"""Parameters and FLOPs of a model, whole or with some channels masked, in closed form."""

from dataclasses import dataclass

import keras
import numpy as np

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import PINNED, ChannelGroups, Slot, channel_groups


@dataclass(frozen=True)
class LayerComplexity:
    """Cost of one layer.

    Attributes:
        layer: Name.
        kind: Class.
        params: Parameters, moving statistics included.
        flops: Multiply-accumulates of convolutions and dense layers; two per value for batch norm; 0 elsewhere.
    """

    layer: str
    kind: str
    params: int
    flops: int


@dataclass(frozen=True)
class Complexity:
    """Cost of a model for one example.

    Attributes:
        params: Parameters, moving statistics included.
        flops: Sum of the layers' FLOPs, as `LayerComplexity` counts them.
        layers: The layers that have parameters.
        uncounted: Layers with weights whose FLOPs are not known to this count; their FLOPs stand as 0.
    """

    params: int
    flops: int
    layers: tuple[LayerComplexity, ...]
    uncounted: tuple[str, ...] = ()


class CostModel:
    """Closed form of a model's cost as a function of the channels that are kept.

    A convolution costs `positions * kernel height * kernel width * inputs kept * outputs kept` multiply-accumulates, a
    dense layer the same with one position, a batch norm two operations per value; activations, additions and pooling
    count nothing. Batch norm has four parameters per channel.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `check_complexity`; sums are exact integers here.

    Args:
        model: A functional model with fixed spatial sizes.
        groups: Its channel groups.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        self._rows = [
            _Row(call, groups)
            for call in {call.name: call for call in model_calls(model)}.values()
            if getattr(call.layer, "weights", None)
        ]
        self._in = np.stack([row.readers for row in self._rows])
        self._out = np.stack([row.makers for row in self._rows])
        constants = np.array([row.constants for row in self._rows], dtype=np.int64).T
        self._in_fixed, self._out_fixed, self._product, self._out_params, self._positions, self._out_flops = constants

    def totals(self, mask: np.ndarray) -> tuple[int, int]:
        """Parameters and FLOPs where `mask` (bool `[channels]`) says which prunable channels are kept."""
        params, flops = self._per_layer(mask)
        return int(params.sum()), int(flops.sum())

    def complexity(self, mask: np.ndarray) -> Complexity:
        """As `totals`, layer by layer."""
        params, flops = self._per_layer(mask)
        rows = tuple(
            LayerComplexity(row.name, row.kind, int(p), int(f))
            for row, p, f in zip(self._rows, params, flops, strict=True)
        )
        uncounted = tuple(row.name for row in self._rows if row.uncounted)
        return Complexity(int(params.sum()), int(flops.sum()), rows, uncounted)

    def _per_layer(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = np.asarray(mask, dtype=np.int64)
        width_in = self._in_fixed + self._in @ kept
        width_out = self._out_fixed + self._out @ kept
        product = self._product * width_in * width_out
        params = product + self._out_params * width_out
        flops = self._positions * (product + self._out_flops * width_out)
        return params, flops


class _Row:
    """Coefficients of one layer: cost = positions * (product * in * out + flops_per_out * out)."""

    def __init__(self, call: Call, groups: ChannelGroups) -> None:
        self.name, self.kind = call.name, type(call.layer).__name__
        slots = {(slot.weight, slot.role): slot for slot in groups.slots.get(call.name, ())}
        shape = call.outputs[0].shape
        positions = int(np.prod([size or 1 for size in shape[1:-1]], dtype=int))
        self.uncounted = False
        has_bias = getattr(call.layer, "bias", None) is not None
        if ("kernel", "out") in slots:  # convolution, dense
            kernel = call.layer.kernel.shape
            reads, makes = slots["kernel", "in"], slots["kernel", "out"]
            product = int(np.prod(kernel[:-2], dtype=int))
            terms = (product, int(has_bias), positions, 0)
        elif ("kernel", "pass") in slots:  # depthwise convolution: every output channel has one small kernel
            reads, makes = None, slots["kernel", "pass"]
            kernel = call.layer.kernel.shape
            terms = (int(np.prod(kernel[:-2], dtype=int)) * kernel[-1], int(has_bias) * kernel[-1], positions, 0)
        elif ("moving_mean", "pass") in slots:  # batch norm
            reads, makes = None, slots["moving_mean", "pass"]
            terms = (0, sum(weight.endswith(_BATCH_NORM) for weight, _ in slots), positions, 2)
        else:
            reads, makes = None, None
            self.uncounted = True
            terms = (call.layer.count_params(), 0, 0, 0)
        self.readers, fixed_in = _count(reads, groups.channels)
        self.makers, fixed_out = _count(makes, groups.channels)
        self.constants = (fixed_in, fixed_out, *terms)


_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def _count(slot: Slot | None, channels: int) -> tuple[np.ndarray, int]:
    """How often each prunable channel stands on an axis, and how many positions are always there."""
    if slot is None:
        return np.zeros(channels, np.int64), 1
    prunable = slot.channels[slot.channels != PINNED]
    return np.bincount(prunable, minlength=channels).astype(np.int64), int((slot.channels == PINNED).sum())


def complexity(model: keras.Model) -> Complexity:
    """Counts parameters and FLOPs of a model, for one example.

    Args:
        model: A functional or sequential model. Unknown spatial sizes count as 1: build it with a fixed input shape.

    Returns:
        The totals and the layers' shares.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same")])
        >>> complexity(model).flops
        6912
    """
    groups = channel_groups(model)
    return CostModel(model, groups).complexity(np.ones(groups.channels, bool))
