"""How alike the units of each channel group are: inner products of what they compute."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.bare_layer import bare_layer
from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.forward import Forward
from tfprune.criteria.kernel_axis import kernel_axes
from tfprune.criteria.second_moments import second_moments
from tfprune.graph import PINNED, Call, ChannelGroup, ChannelGroups
from tfprune.graph.kernel_reads import examples_at_once


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
