"""Units drawn by a determinantal point process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.base import CriterionData, DataUse
from tfprune.criteria.channels.base import kernel_axes
from tfprune.criteria.forward import bare_layer, second_moments
from tfprune.criteria.registry import register
from tfprune.dpp import KDPP
from tfprune.errors import ConfigError
from tfprune.graph import PINNED, Call, ChannelGroup, ChannelGroups, Forward
from tfprune.graph.kernel_reads import examples_at_once

_RIDGE = 0.01


@register("dpp_node")
@dataclass(frozen=True)
class DPPNode:
    """Keeps units that are unlike, drawn by one k-DPP for each group.

    With data the kernel of a group is the paper's, W C W': the mean products of its units' pre-activations over
    examples and positions, see `activation_kernels`. Without data inputs are taken to be uncorrelated, C = I, and the
    products are those of the units' filters. Either is rescaled to a diagonal of ones, where the original rescales
    filters, and gets a ridge as in the original's image experiments. The units drawn come first, in the order of the
    draw; the others follow by chance, for plans that need more.

    Attributes:
        density: Fraction of each group that is drawn; the `density` of the plan.
        seed: The same seed gives the same units.
        batches: Look at so many batches of the data only. Default: all.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021).
    """

    name: ClassVar[str] = "dpp_node"
    uses_data: ClassVar[DataUse] = "optional"
    density: float = 0.5
    seed: int = 0
    batches: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ConfigError(f"density: expected a fraction above 0 and at most 1, received {self.density}")

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Between 1 and 2 for units that were drawn, between 0 and 1 for others, `[channels]`; NaN without a kernel.

        Raises:
            ConfigError: The data cannot be used, or a layer's pre-activations cannot be seen.
        """
        if data is None:
            kernels = filter_kernels(groups)
        else:
            kernels = activation_kernels(model, groups, CriterionData.required(data, self.name), self.batches)
        rng = np.random.default_rng(self.seed)
        scores = np.full(groups.channels, np.nan)
        for group, kernel in zip(groups, kernels, strict=True):
            if kernel.diagonal().any():
                scores[group.channels] = self._scores(kernel, rng)
        return scores

    def _scores(self, kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count = len(kernel)
        lengths = np.sqrt(kernel.diagonal())
        lengths = np.where(lengths > 0, lengths, 1.0)
        size = min(count, max(1, int(self.density * count + 1e-9)))
        kernel = kernel / np.outer(lengths, lengths) + _RIDGE * np.eye(count)
        drawn = KDPP(kernel, size).sample(1, seed=int(rng.integers(2**31)))[0, 0]
        scores = rng.random(count)
        scores[drawn] = 2 - np.arange(size) / size / 2
        return scores


def filter_kernels(groups: ChannelGroups) -> list[np.ndarray]:
    """Inner products of filters: the kernels W C W' of inputs that are uncorrelated and of variance 1, C = I.

    Args:
        groups: The channel groups of a model.

    Returns:
        For each group float64 `[units, units]`, the sum over the kernels that make its units; zeros if none does.
    """
    kernels = _Kernels(groups)
    for axis in kernel_axes(groups, ("out",)):
        rows = axis.rows(axis.variable)
        kernels.add(axis.channels, rows @ rows.T)
    return kernels.found


def activation_kernels(
    model: keras.Model, groups: ChannelGroups, data: CriterionData, batches: int | None = None
) -> list[np.ndarray]:
    """Inner products of pre-activations on data, W C W' with the C of what each kernel reads in the model.

    A pre-activation is what the kernels of a layer put out, before its bias, activation and all that follows. The
    products are means over examples and positions, of all calls of a layer, and are summed over the layers that make a
    unit, as its filters' are, and the depthwise convolutions that it goes through. Nothing is left out or sampled. The
    model runs in inference mode, once over the data.

    Args:
        model: A functional or sequential model. It is not changed.
        groups: Its channel groups.
        data: The data; no labels are needed.
        batches: Look at so many batches only. Default: all.

    Returns:
        For each group float64 `[units, units]`; zeros if no kernel makes its units.

    Raises:
        ConfigError: A prunable unit is made within a layer (recurrent, attention, of one's own) whose outputs are not
            what its kernels make of its inputs; or the data cannot be used.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), node kernels.
    """
    look = _PreActivations(model, groups)
    kernels = _Kernels(groups)
    for (name, axis), products in second_moments(look.forward, data, look, batches).items():
        kernels.add(look.channels[name][axis], products)
    return kernels.found


class _Kernels:
    """Sums of inner products, group by group."""

    def __init__(self, groups: ChannelGroups) -> None:
        self._groups = groups
        self.found = [np.zeros((group.size, group.size)) for group in groups]

    def add(self, channels: np.ndarray, products: np.ndarray) -> None:
        """Adds products `[positions, positions]` of an axis at whose positions these units stand.

        Of a unit that stands at several positions (groups of a convolution, gates of a recurrent layer) each goes with
        the same one of other units: its filter is all of them, one after the other.
        """
        for group, kernel in zip(self._groups, self.found, strict=True):
            here = _positions(channels, group)
            units = channels[here] - group.start
            copies = _copies(units)
            paired = products[np.ix_(here, here)] * (copies[:, None] == copies)
            np.add.at(kernel, (units[:, None], units), paired)


def _positions(channels: np.ndarray, group: ChannelGroup) -> np.ndarray:
    return np.flatnonzero((channels >= group.start) & (channels < group.start + group.size))


def _copies(units: np.ndarray) -> np.ndarray:
    """How often the unit at each position has come before."""
    order = np.argsort(units, kind="stable")
    ranked = units[order]
    copies = np.empty(len(units), int)
    copies[order] = np.arange(len(units)) - np.searchsorted(ranked, ranked)
    return copies


class _PreActivations:
    """Looks at the outputs of the kernels that make units, or pass them on.

    Attributes:
        forward: Runs the model.
        channels: Of each layer with such kernels, which units stand along which axes of its output.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        self.forward = Forward(model, groups)
        self._groups = groups
        self._layers: dict[str, keras.Layer] = {}
        self.channels: dict[str, dict[int, np.ndarray]] = {}
        made: dict[str, set[int]] = {}
        for axis in kernel_axes(groups, ("out", "pass")):
            made.setdefault(axis.layer, set()).update(axis.units.tolist())
        for call in groups.calls:
            if call.name in made and call.name not in self.channels:
                self._layers[call.name] = bare_layer(call.layer, call.inputs[0].shape)
                self.channels[call.name] = dict(self._axes(call, made[call.name]))

    def __call__(self, call: Call, tensors: Mapping[int, tf.Tensor]) -> Iterator[tuple[Any, tf.Tensor]]:
        """Names of layers and axes of their outputs, with pre-activations float64 `[rows, positions of the axis]`."""
        layer = self._layers.get(call.name)
        if layer is None:
            return
        values = tensors[id(call.outputs[0])]
        if layer is not call.layer:
            (values,) = self.forward.outputs(call, tensors, layer)
        count = examples_at_once(values)
        for axis in self.channels[call.name]:
            order = [each for each in range(values.shape.rank) if each != axis] + [axis]
            for start in range(0, len(values), count):
                part = tf.transpose(tf.cast(values[start : start + count], tf.float64), order)
                yield (call.name, axis), tf.reshape(part, [-1, part.shape[-1]])

    def _axes(self, call: Call, made: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The axes of a call's output, batch counted, along which units stand that its layer makes or passes on."""
        for axis, channels in enumerate(self._groups.axes(call.outputs[0]), start=1):
            if channels is not None and made.issuperset(units := set(channels[channels != PINNED].tolist())) and units:
                yield axis, channels
