"""Channels drawn by a determinantal point process, by their filters or by their pre-activations on data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import number
from tfprune.criteria.channels.criterion import kernel_axes
from tfprune.criteria.data import CriterionData
from tfprune.criteria.forward import bare_layer, second_moments
from tfprune.criteria.registry import DataUse, register_criterion
from tfprune.dpp import KDPP
from tfprune.graph import PINNED, Call, ChannelGroup, ChannelGroups, Forward
from tfprune.graph.kernel_reads import examples_at_once
from tfprune.ops.density import at_most

_RIDGE = 0.01


@register_criterion("dpp_node")
@dataclass(frozen=True)
class DPPNode:
    """Diverse channels, drawn by one k-DPP for each group.

    With data, the kernel of a group is the paper's, W C W': the mean products of its channels' pre-activations over
    examples and positions, see `activation_kernels`. Without data, inputs are assumed to be uncorrelated, C = I, and
    the products are those of the channels' filters. Either is rescaled to a diagonal of ones, where the authors rescale
    filters, and gets a ridge as in their image experiments. The channels drawn come first, in the order of the draw;
    the others follow in random order, for plans that need more.

    Attributes:
        density: Fraction of each group that is drawn; the `density` of the plan.
        seed: The same seed gives the same channels.
        batches: Use only this many batches of the data. Default: all.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021).
    """

    name: ClassVar[str] = "dpp_node"
    uses_data: ClassVar[DataUse] = "optional"
    density: float = 0.5
    seed: int = 0
    batches: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "density", number("density", self.density, above=0, at_most=1))

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns 1 to 2 for channels that were drawn, 0 to 1 for others, `[channels]`; NaN without a kernel.

        Raises:
            ConfigError: The data cannot be used, or a layer's pre-activations cannot be computed.
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
        size = max(1, at_most(count, self.density))
        kernel = kernel / np.outer(lengths, lengths) + _RIDGE * np.eye(count)
        drawn = KDPP(kernel, size).sample(1, seed=int(rng.integers(2**31)))[0, 0]
        scores = rng.random(count)
        scores[drawn] = 2 - np.arange(size) / size / 2
        return scores


def filter_kernels(groups: ChannelGroups) -> list[np.ndarray]:
    """Computes inner products of filters: the kernels W C W' for uncorrelated inputs of variance 1, C = I.

    Args:
        groups: The channel groups of a model.

    Returns:
        For each group float64 `[channels, channels]`, the sum over the kernels that produce its channels; zeros if none
        does.
    """
    kernels = _GroupKernels(groups)
    for axis in kernel_axes(groups, ("out",)):
        rows = axis.rows(axis.variable)
        kernels.add(axis.channels, rows @ rows.T)
    return kernels.found


def activation_kernels(
    model: keras.Model, groups: ChannelGroups, data: CriterionData, batches: int | None = None
) -> list[np.ndarray]:
    """Computes inner products of pre-activations on data, W C W' with the C of what each kernel reads in the model.

    A pre-activation is the output of a layer's kernels, before its bias, its activation and all that follows. The
    products are means over examples and positions, of all calls of a layer, and are summed over the layers that produce
    a channel, as for filters, and the depthwise convolutions that it passes. Nothing is left out or sampled. The model
    runs in inference mode, once over the data.

    Args:
        model: A functional or sequential model. It is not changed.
        groups: Its channel groups.
        data: The data; no labels are needed.
        batches: Use only this many batches. Default: all.

    Returns:
        For each group float64 `[channels, channels]`; zeros if no kernel produces its channels.

    Raises:
        ConfigError: A prunable channel is produced within a layer (recurrent, attention, a user's own) whose outputs
            are not its kernels applied to its inputs; or the data cannot be used.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), node kernels.
    """
    look = _PreActivations(model, groups)
    kernels = _GroupKernels(groups)
    for (name, axis), products in second_moments(look.forward, CriterionData.of(data, model), look, batches).items():
        kernels.add(look.channels[name][axis], products)
    return kernels.found


class _GroupKernels:
    """Sums of inner products, group by group."""

    def __init__(self, groups: ChannelGroups) -> None:
        self._groups = groups
        self.found = [np.zeros((group.size, group.size)) for group in groups]

    def add(self, channels: np.ndarray, products: np.ndarray) -> None:
        """Adds products `[positions, positions]` of an axis with these channels at its positions.

        If a channel has several positions (groups of a convolution, gates of a recurrent layer), each is paired with
        the same one of other channels: its filter is the concatenation of all of them.
        """
        for group, kernel in zip(self._groups, self.found, strict=True):
            here = _positions(channels, group)
            own = channels[here] - group.start
            copies = _copies(own)
            paired = products[np.ix_(here, here)] * (copies[:, None] == copies)
            np.add.at(kernel, (own[:, None], own), paired)


def _positions(channels: np.ndarray, group: ChannelGroup) -> np.ndarray:
    return np.flatnonzero((channels >= group.start) & (channels < group.start + group.size))


def _copies(channels: np.ndarray) -> np.ndarray:
    """Counts how often the channel at each position has come before."""
    order = np.argsort(channels, kind="stable")
    ranked = channels[order]
    copies = np.empty(len(channels), int)
    copies[order] = np.arange(len(channels)) - np.searchsorted(ranked, ranked)
    return copies


class _PreActivations:
    """Observes the outputs of the kernels that produce channels, or pass them on.

    Attributes:
        forward: Runs the model.
        channels: For each layer with such kernels, the channels along the axes of its output.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        self.forward = Forward(model, groups)
        self._groups = groups
        self._layers: dict[str, keras.Layer] = {}
        self.channels: dict[str, dict[int, np.ndarray]] = {}
        produced: dict[str, set[int]] = {}
        for axis in kernel_axes(groups, ("out", "pass")):
            produced.setdefault(axis.layer, set()).update(axis.distinct.tolist())
        for call in groups.calls:
            if call.name in produced and call.name not in self.channels:
                self._layers[call.name] = bare_layer(call.layer, call.inputs[0].shape)
                self.channels[call.name] = dict(self._axes(call, produced[call.name]))

    def __call__(self, call: Call, tensors: Mapping[int, tf.Tensor]) -> Iterator[tuple[Any, tf.Tensor]]:
        """Yields layer names and axes of outputs, with pre-activations float64 `[rows, positions of the axis]`."""
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

    def _axes(self, call: Call, produced: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the axes of a call's output, batch counted, with channels that its layer produces or passes on."""
        for axis, channels in enumerate(self._groups.axes(call.outputs[0]), start=1):
            if channels is not None:
                prunable = set(channels[channels != PINNED].tolist())
                if prunable and produced.issuperset(prunable):
                    yield axis, channels
