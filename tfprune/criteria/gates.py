"""Where gates on units sit in a model, and the gradients of a loss at them."""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data_loss import Loss
from tfprune.criteria.forward import Forward
from tfprune.graph import PINNED, ChannelGroups, gate_sites


@dataclass(frozen=True, eq=False)
class _InnerAxis:
    """An axis of a weight that reads units which reach its layer on no gated tensor.

    Attributes:
        variable: The weight.
        axis: The axis, negative.
        channels: Unit at each position, `PINNED` for those that are gated elsewhere.
    """

    variable: Any
    axis: int
    channels: np.ndarray


class Gates:
    """The gates of a model.

    One sits at each of `gate_sites`. Units that kernels read within their layer (attention heads, recurrent states), or
    at none of these sites, have a gate on the weights that read them: for a linear reader it makes no difference
    whether its input or its weights are scaled.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups.

    Attributes:
        units: For each gate, the unit at each of its positions, or `PINNED`.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        self._forward = Forward(model, groups, batch_statistics=True)
        sites = gate_sites(groups)
        self._sites = [id(site.tensor) for site in sites]
        gated = np.unique(np.concatenate([site.channels for site in sites])) if sites else np.zeros(0, int)
        self._inner = [axes for name in groups.slots if (axes := _inner_axes(groups, name, gated))]
        inner_units = [_distinct(axes) for axes in self._inner]
        self.units = [site.channels for site in sites] + inner_units
        self._variables = [axis.variable for axes in self._inner for axis in axes]

    def gradients(self, loss: Loss, x: Any, y: Any) -> list[tf.Tensor]:
        """Gradients at open gates.

        Args:
            loss: The loss.
            x: Inputs of a batch.
            y: Its labels.

        Returns:
            For each gate float32 `[positions]`, the derivative of the loss by a factor on the unit.
        """
        found: dict[int, tf.Tensor] = {}
        sources = [variable.value for variable in self._variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for source in sources:
                tape.watch(source)

            def look(tensor: int, value: tf.Tensor) -> None:
                if tensor in self._sites:
                    tape.watch(value)
                    found[tensor] = value

            value = loss(y, self._forward(x, look))
        scaled = [found[site] for site in self._sites] + sources
        unconnected = tf.UnconnectedGradients.ZERO
        products = [
            tf.cast(value, tf.float32) * tf.cast(gradient, tf.float32)
            for value, gradient in zip(
                scaled, tape.gradient(value, scaled, unconnected_gradients=unconnected), strict=True
            )
        ]
        count = len(self._sites)
        at_sites = [tf.reduce_sum(product, list(range(product.shape.rank - 1))) for product in products[:count]]
        return at_sites + self._at_weights(products[count:])

    def _at_weights(self, products: list[tf.Tensor]) -> list[tf.Tensor]:
        """From `w * dL/dw` of all inner axes to one value for each unit of each layer."""
        remaining = iter(products)
        sums = []
        for axes, units in zip(self._inner, self.units[len(self._sites) :], strict=True):
            total = tf.zeros([len(units)])
            for axis in axes:
                product = next(remaining)
                others = [index for index in range(product.shape.rank) if index != product.shape.rank + axis.axis]
                inner = np.flatnonzero(axis.channels != PINNED)
                values = tf.gather(tf.reduce_sum(product, others), inner)
                where = np.searchsorted(units, axis.channels[inner])
                total += tf.math.unsorted_segment_sum(values, where, len(units))
            sums.append(total)
        return sums


def _inner_axes(groups: ChannelGroups, name: str, gated: np.ndarray) -> list[_InnerAxis]:
    tensors = [tensor for call in groups.calls if call.name == name for tensor in call.inputs]
    given = [units for tensor in tensors for units in groups.axes(tensor) if units is not None]
    outside = np.intersect1d(gated, np.concatenate(given)) if given else np.zeros(0, int)
    found = []
    for slot in groups.slots[name]:
        inner = (slot.channels != PINNED) & ~np.isin(slot.channels, outside)
        if slot.role == "in" and inner.any():
            variable = attrgetter(slot.weight)(groups.layers[name])
            found.append(_InnerAxis(variable, slot.axis, np.where(inner, slot.channels, PINNED)))
    return found


def _distinct(axes: list[_InnerAxis]) -> np.ndarray:
    units = np.unique(np.concatenate([axis.channels for axis in axes]))
    return units[units != PINNED]
