"""Criteria by first derivatives of the loss on data: of filters (Taylor) and of gates on channels (EKG)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.channels.criterion import (
    Normalize,
    combine,
    kernel_axes,
    normalized,
    require_scores,
    sum_by_channel,
)
from tfprune.criteria.data import CriterionData
from tfprune.criteria.forward import traced
from tfprune.criteria.loss import Loss, data_loss
from tfprune.criteria.registry import DataUse, register_criterion
from tfprune.errors import check_choice
from tfprune.graph import PINNED, ChannelGroups, Forward, gate_sites
from tfprune.graph.labels import weight_at


@register_criterion("taylor")
@dataclass(frozen=True)
class Taylor:
    """First-order change of the loss if a channel's filter is removed.

    The score is the squared sum of `w * dL/dw` over the weights that produce a channel, averaged over batches. A
    channel that several kernels produce has the sum of their scores. Batch norms use their moving averages. Kernels
    count whether they are trainable or not.

    Attributes:
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
        batches: Use only this many batches. Default: all.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scores unchanged, as in the paper.

    Reference:
        Molchanov et al., Importance Estimation for Neural Network Pruning (CVPR 2019), first order, over filters.
    """

    name: ClassVar[str] = "taylor"
    uses_data: ClassVar[DataUse] = "always"
    loss: Any = None
    batches: int | None = None
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the scores `[channels]`; NaN for channels that no kernel produces.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        source = CriterionData.required(data, self.name).for_loss(model, self.loss)
        axes = kernel_axes(groups, ("out",))
        variables = list({id(axis.variable): axis.variable for axis in axes}.values())
        totals = [np.zeros(len(axis.distinct)) for axis in axes]
        forward = Forward(model, groups)
        seen = 0
        gradients = None
        for x, y in source.batches(self.batches):
            gradients = gradients or traced(
                _gradients(forward, data_loss(model, self.loss, y), variables), x, y, exact=forward.exact
            )
            found = {
                id(variable): np.asarray(variable, np.float64) * np.asarray(gradient, np.float64)
                for variable, gradient in zip(variables, gradients(x, y), strict=True)
            }
            for axis, total in zip(axes, totals, strict=True):
                total += axis.by_channel(axis.rows(found[id(axis.variable)]).sum(axis=1)) ** 2
            seen += 1
        parts = [(axis.distinct, total / seen) for axis, total in zip(axes, totals, strict=True)]
        scores = combine(parts, groups.channels, "sum")
        message = "criterion taylor: no kernel produces a prunable channel; use random"
        return normalized(require_scores(scores, message), groups, self.normalize)


def _gradients(forward: Forward, loss: Any, variables: list[keras.Variable]) -> Any:
    """Returns a function from a batch to the gradients of its loss."""
    sources = [variable.value for variable in variables]

    def compute(x: Any, y: Any) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for source in sources:
                tape.watch(source)
            value = loss(y, forward(x))
        found = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    return compute


@register_criterion("ekg")
@dataclass(frozen=True)
class EKG:
    """Importance of the gates by which EKG's search ranks channels.

    A gate sits at the last activation before kernels read a channel. Its importance in a batch is
    `|sum of y * dL/dy|` over examples and positions, with batch norms on the statistics of the batch; the gates of a
    channel and the batches are summed. Channels that a layer reads of itself, such as attention heads or a recurrent
    state, have their gate where the kernel reads them.

    In the search the loss has a second term, cross-entropy to the mean of the sub-networks found so far. At first that
    mean is the model's own output, where the term has no gradient: these are the scores of the search's first step.

    Attributes:
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
        batches: Use only this many batches. Default: all.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scores unchanged.

    Reference:
        Lee & Song, Ensemble Knowledge Guided Sub-network Search and Fine-tuning for Filter Pruning (ECCV 2022).
    """

    name: ClassVar[str] = "ekg"
    uses_data: ClassVar[DataUse] = "always"
    loss: Any = None
    batches: int | None = None
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Returns the scores `[channels]`; NaN for channels that no kernel reads.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        source = CriterionData.required(data, self.name).for_loss(model, self.loss)
        gates = GateGradients(model, groups)
        totals = [np.zeros(len(channels)) for channels in gates.channels]
        examples = 0
        gradients = None
        for x, y in source.batches(self.batches):
            gradients = gradients or traced(
                partial(gates.gradients, data_loss(model, self.loss, y)), x, y, exact=gates.exact
            )
            size = len(keras.tree.flatten(y)[0])
            for total, values in zip(totals, gradients(x, y), strict=True):
                total += size * np.abs(np.asarray(values, np.float64))
            examples += size
        parts = [
            sum_by_channel(channels, total / examples) for channels, total in zip(gates.channels, totals, strict=True)
        ]
        scores = combine(parts, groups.channels, "sum")
        message = "criterion ekg: no kernel reads a prunable channel; use random"
        return normalized(require_scores(scores, message), groups, self.normalize)


@dataclass(frozen=True, eq=False)
class _InnerAxis:
    """An axis of a weight that reads channels which reach its layer on no gated tensor.

    Attributes:
        variable: The weight.
        axis: The axis, negative.
        channels: Channel at each position, `PINNED` for those that are gated elsewhere.
    """

    variable: Any
    axis: int
    channels: np.ndarray


class GateGradients:
    """Derivatives of the loss by the gates of a model.

    A gate sits at each of `gate_sites`. Channels that kernels read within their layer (attention heads, recurrent
    states), or at none of these sites, have a gate on the weights that read them: for a linear reader it makes no
    difference whether its input or its weights are scaled.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups.

    Attributes:
        channels: For each gate, the channel at each of its positions, or `PINNED`.
        exact: See `Forward`.
    """

    def __init__(self, model: keras.Model, groups: ChannelGroups) -> None:
        self._forward = Forward(model, groups, batch_statistics=True)
        self.exact = self._forward.exact
        sites = gate_sites(groups)
        self._sites = [id(site.tensor) for site in sites]
        gated = np.unique(np.concatenate([site.channels for site in sites])) if sites else np.zeros(0, int)
        self._inner = [axes for name in groups.slots if (axes := _inner_axes(groups, name, gated))]
        self.channels = [site.channels for site in sites] + [_distinct(axes) for axes in self._inner]
        self._variables = [axis.variable for axes in self._inner for axis in axes]

    def gradients(self, loss: Loss, x: Any, y: Any) -> list[tf.Tensor]:
        """Computes the gradients at open gates.

        Args:
            loss: The loss.
            x: Inputs of a batch.
            y: Its labels.

        Returns:
            For each gate float32 `[positions]`, the derivative of the loss by a factor on the channel.
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
        """Sums `w * dL/dw` of all inner axes to one value for each channel of each layer."""
        remaining = iter(products)
        sums = []
        for axes, channels in zip(self._inner, self.channels[len(self._sites) :], strict=True):
            total = tf.zeros([len(channels)])
            for axis in axes:
                product = next(remaining)
                others = [index for index in range(product.shape.rank) if index != product.shape.rank + axis.axis]
                inner = np.flatnonzero(axis.channels != PINNED)
                values = tf.gather(tf.reduce_sum(product, others), inner)
                where = np.searchsorted(channels, axis.channels[inner])
                total += tf.math.unsorted_segment_sum(values, where, len(channels))
            sums.append(total)
        return sums


def _inner_axes(groups: ChannelGroups, name: str, gated: np.ndarray) -> list[_InnerAxis]:
    """Finds the axes of a layer's weights that read channels which no gate of its inputs scales."""
    tensors = [tensor for call in groups.calls if call.name == name for tensor in call.inputs]
    given = [channels for tensor in tensors for channels in groups.axes(tensor) if channels is not None]
    outside = np.intersect1d(gated, np.concatenate(given)) if given else np.zeros(0, int)
    found = []
    for slot in groups.slots[name]:
        inner = (slot.channels != PINNED) & ~np.isin(slot.channels, outside)
        if slot.role == "in" and inner.any():
            variable = weight_at(groups.layers[name], slot.weight)
            found.append(_InnerAxis(variable, slot.axis, np.where(inner, slot.channels, PINNED)))
    return found


def _distinct(axes: list[_InnerAxis]) -> np.ndarray:
    channels = np.unique(np.concatenate([axis.channels for axis in axes]))
    return channels[channels != PINNED]
