"""Parameters and FLOPs (multiply-adds) of a model, whole or with some channels masked.

They are in closed form, by the costs that the rules note. A call that is left alone has a constant cost, which is
counted in the TensorFlow graph that it makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.channel_groups import ChannelGroups, channel_groups
from tfprune.graph.labels import PINNED, Cost, LayerChannels, weight_at
from tfprune.graph.subclassed import functional_model
from tfprune.graph.traced_cost import estimated_flops, traced_flops
from tfprune.reprs import short_repr

_FREE = (
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    keras.layers.Embedding,
)


@dataclass(frozen=True)
class LayerComplexity:
    """Cost of one layer.

    Attributes:
        layer: Name; `outer/inner` in a nested model.
        kind: Class.
        params: Parameters, moving statistics included.
        flops: `macs`, plus two per value for batch norm, as EKG counts.
        macs: Multiply-adds of kernels (and of the products in attention), over all calls of the layer.
    """

    layer: str
    kind: str
    params: int
    flops: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """Cost of a model for one example.

    Attributes:
        params: Parameters, moving statistics included.
        flops: Sum of the layers' FLOPs, as `LayerComplexity` counts them.
        macs: Sum of the layers' multiply-adds.
        layers: The layers that have parameters or FLOPs.
        uncounted: Layers whose FLOPs are not known; they are not part of `flops`.
        unknown: What these are estimated to cost, in multiply-adds: their kernels times the positions of their inputs.
    """

    params: int
    flops: int
    macs: int
    layers: tuple[LayerComplexity, ...]
    uncounted: tuple[str, ...] = ()
    unknown: int = 0

    @property
    def unknown_share(self) -> float:
        """The fraction of the estimated FLOPs that is not counted."""
        return self.unknown / (self.flops + self.unknown) if self.unknown else 0.0

    __repr__ = short_repr


class CostModel:
    """The cost of a model as a function of the kept channels, in closed form.

    A convolution costs `positions * kernel height * kernel width * inputs kept * outputs kept` multiply-adds, a dense
    layer the same with one position, a batch norm two operations per value; activations, additions, pooling and other
    normalizations cost nothing. Batch norm has four parameters per channel. Calls that the rules leave alone cost what
    `traced_flops` counts, whatever is kept elsewhere.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `check_complexity`; sums are exact integers here.

    Args:
        model: A functional model with fixed spatial sizes; unknown ones count as 1.
        groups: Its channel groups.

    Attributes:
        uncounted: The estimated FLOPs of the layers whose FLOPs are not known, by name; they are in no total.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        calls: dict[str, list[Call]] = {}
        for call in groups.calls:
            calls.setdefault(call.name, []).append(call)
        self.uncounted: dict[str, int] = {}
        self._rows: list[tuple[str, LayerChannels]] = []
        constants: list[list[Cost]] = []
        for name, own in calls.items():
            each = groups.by_layer[name]
            counted, unknown = _constant_cost(each, own)
            if unknown is not None:
                self.uncounted[name] = unknown
            if _weights(each.layer) or each.costs or counted:
                self._rows.append((name, each))
                constants.append([Cost(counted, ())])
        layers = [each for _, each in self._rows]
        self._params = _Terms([_parameters(each) for each in layers], groups.channels)
        macs = [[c for c in each.costs if not c.normalization] for each in layers]
        self._macs = _Terms([more + own for own, more in zip(macs, constants, strict=True)], groups.channels)
        self._norms = _Terms([[c for c in each.costs if c.normalization] for each in layers], groups.channels)

    def totals(self, mask: np.ndarray) -> tuple[int, int]:
        """Returns parameters and FLOPs of a sub-network.

        Args:
            mask: Bool `[channels]`, True for the prunable channels to keep.
        """
        params, macs, norms = self._per_layer(mask)
        return int(params.sum()), int(macs.sum() + norms.sum())

    def complexity(self, mask: np.ndarray) -> Complexity:
        """Returns the cost of a sub-network, layer by layer; for `mask` see `totals`."""
        params, macs, norms = self._per_layer(mask)
        rows = tuple(
            LayerComplexity(name, type(each.layer).__name__, int(p), int(m + n), int(m))
            for (name, each), p, m, n in zip(self._rows, params, macs, norms, strict=True)
        )
        flops, unknown = int(macs.sum() + norms.sum()), sum(self.uncounted.values())
        return Complexity(int(params.sum()), flops, int(macs.sum()), rows, tuple(self.uncounted), unknown)

    def _per_layer(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kept = np.asarray(mask, dtype=np.int64)
        return self._params.values(kept), self._macs.values(kept), self._norms.values(kept)


class _Terms:
    """Sums of costs, one sum per layer, evaluated for all layers at once."""

    def __init__(self, layers: Sequence[Sequence[Cost]], channels: int) -> None:
        self._layers, self._channels = len(layers), channels
        axes: dict[bytes, int] = {b"": 0}
        distinct: list[np.ndarray] = [np.full(1, PINNED)]
        rows, constants, factors = [], [], []
        for row, costs in enumerate(layers):
            for cost in costs:
                rows.append(row)
                constants.append(cost.constant)
                factors.append([_number(axis, axes, distinct) for axis in cost.axes])
        width = max((len(each) for each in factors), default=0) or 1
        self._rows = np.array(rows, dtype=int)
        self._constants = np.array(constants, dtype=np.int64)
        self._factors = np.array([each + [0] * (width - len(each)) for each in factors], dtype=int).reshape(-1, width)
        self._positions = np.concatenate(distinct)
        self._starts = np.cumsum([0, *(len(axis) for axis in distinct[:-1])])

    def values(self, kept: np.ndarray) -> np.ndarray:
        """Returns the sum of each layer `[layers]`, where `kept` (`[channels]`) is 1 for channels to keep, else 0."""
        one = np.append(kept, 1)[self._positions]  # PINNED is -1, the last position
        counts = np.add.reduceat(one, self._starts)
        result = np.zeros(self._layers, np.int64)
        np.add.at(result, self._rows, self._constants * counts[self._factors].prod(axis=1))
        return result


def _number(axis: np.ndarray, numbers: dict[bytes, int], distinct: list[np.ndarray]) -> int:
    key = axis.tobytes()
    if key not in numbers:
        numbers[key] = len(distinct)
        distinct.append(axis)
    return numbers[key]


def _parameters(channels: LayerChannels) -> list[Cost]:
    """Returns the number of parameters of a layer, as a sum over its weights."""
    axes: dict[int, dict[int, np.ndarray]] = {}
    for slot in channels.slots:
        axes.setdefault(id(weight_at(channels.layer, slot.weight)), {})[slot.axis] = slot.channels
    costs = []
    for weight in _weights(channels.layer):
        labelled = axes.get(id(weight), {})
        rank = len(weight.shape)
        fixed = [size for axis, size in enumerate(weight.shape, start=-rank) if axis not in labelled]
        costs.append(Cost(int(np.prod(fixed, dtype=np.int64)), tuple(labelled.values())))
    return costs


def _weights(layer: Any) -> list[keras.Variable]:
    return list(getattr(layer, "weights", ()))


def _constant_cost(channels: LayerChannels, calls: Sequence[Call]) -> tuple[int, int | None]:
    """Returns the multiply-adds of the calls without a noted cost, and an estimate of those that cannot be counted."""
    layer = channels.layer
    if channels.untold:
        found = [(call, traced_flops(call)) for call in channels.untold]
        unknown = [estimated_flops(call) for call, count in found if count is None]
        return sum(count or 0 for _, count in found), sum(unknown) if unknown else None
    if channels.costs or not _weights(layer) or _computes_nothing(layer):
        return 0, None
    # A rule without a cost: what depends on the kept channels is not known, unless it is nothing.
    found = [(call, traced_flops(call)) for call in calls]
    most = sum(estimated_flops(call) if count is None else count for call, count in found)
    return 0, most or None


def _computes_nothing(layer: Any) -> bool:
    """Returns whether a layer with weights has no multiply-adds that count."""
    return isinstance(layer, _FREE) or type(layer).__name__ == "LayerScale"


def complexity(model: keras.Model, *, inputs: Any = None) -> Complexity:
    """Counts parameters and FLOPs (multiply-adds) of a model, for one example.

    Args:
        model: A functional, sequential or subclassed model. Unknown spatial sizes count as 1: build it with a fixed
            input shape.
        inputs: The inputs of a subclassed model, see `tfprune.functional_model`.

    Returns:
        The totals, and the cost of each layer.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same")])
        >>> complexity(model).flops
        6912
    """
    model = functional_model(model, inputs)
    groups = channel_groups(model)
    return CostModel(model, groups).complexity(np.ones(groups.channels, bool))
