"""Criteria that measure on data what a residual block does: to its input, or to the loss."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import optional, whole_number
from tfprune.criteria.blocks.criterion import BlockEnds, finite_scores
from tfprune.criteria.data import CriterionData, examples_at_once
from tfprune.criteria.forward import traced
from tfprune.criteria.loss import Loss, data_loss
from tfprune.criteria.registry import DataUse, Kind, register_criterion
from tfprune.graph import Forward, ResidualBlock
from tfprune.graph.execute import Tensors

Changes = Callable[[Any, Any], Sequence[Any]]
"""From a batch to what each block changes its mean loss by."""
ChangesOf = Callable[[Forward, BlockEnds, Loss, Any, Any], Changes]
"""From a model, its blocks, a loss and a batch to a function of such batches."""


@dataclass(frozen=True)
class _Measured:
    """Base class of criteria for blocks that look at data.

    Attributes:
        batches: Use only this many batches. Default: all.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "blocks"
    uses_data: ClassVar[DataUse] = "always"
    batches: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches", optional(whole_number, "batches", self.batches))


@register_criterion("cosine")
@dataclass(frozen=True)
class Cosine(_Measured):
    """Change of direction from a block's input to its output, 1 - cosine.

    One vector is the values of all channels (the last axis) at one position of one example. The score is the mean over
    positions and examples; positions that a mask hides count, too. A vector of zeros has the same direction as another
    one of zeros, and is at a right angle to all others.

    Attributes:
        batches: Use only this many batches. Default: all.

    Reference:
        Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect (2024,
        arXiv:2403.03853): block influence.
    """

    name: ClassVar[str] = "cosine"

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Returns the scores `[blocks]`; labels are not used.

        Raises:
            ConfigError: There is no data that can be used.
        """
        source = CriterionData.required(data, self.name, model)
        forward = Forward(model, blocks[0].graph)
        ends = BlockEnds.of(forward, blocks)
        totals, examples = np.zeros(len(blocks)), 0
        for x in source.inputs(self.batches):
            tensors = forward.inputs(x)
            examples += len(keras.tree.flatten(x)[0])
            for call in forward.calls:
                forward.run(call, tensors)
                if (index := ends.index.get(id(call))) is not None:
                    before, after = (tensors[tensor] for tensor in ends.pair(index))
                    totals[index] += _turned(before, after)
                forward.forget(call, tensors)
        return finite_scores(totals / examples, blocks)


def _turned(before: tf.Tensor, after: tf.Tensor) -> float:
    """Returns 1 - cosine of two tensors `[batch, ..., features]`, its mean over positions, summed over examples."""
    one, other = tf.cast(before, tf.float64), tf.cast(after, tf.float64)
    lengths = tf.norm(one, axis=-1), tf.norm(other, axis=-1)
    product = lengths[0] * lengths[1]
    both_zero = tf.cast((lengths[0] == 0) & (lengths[1] == 0), tf.float64)
    cosine = tf.where(product == 0, both_zero, tf.math.divide_no_nan(tf.reduce_sum(one * other, -1), product))
    by_example = tf.reshape(1 - cosine, [tf.shape(one)[0], -1])
    return float(tf.reduce_sum(tf.reduce_mean(by_example, -1)))


@dataclass(frozen=True)
class _OfLoss(_Measured):
    """Base class of criteria that say what a block changes the loss by.

    Attributes:
        batches: Use only this many batches. Default: all.
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
    """

    loss: Any = None

    def _mean_changes(
        self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any, changes_of: ChangesOf
    ) -> np.ndarray:
        """Returns the mean change of the loss for each block, over all examples; `changes_of` finds that of a batch."""
        source = CriterionData.required(data, self.name).for_loss(model, self.loss)
        forward = Forward(model, blocks[0].graph)
        ends = BlockEnds.of(forward, blocks)
        totals, examples = np.zeros(len(blocks)), 0
        changes: Changes | None = None
        for x, y in source.batches(self.batches, size=examples_at_once(model)):
            changes = changes or changes_of(forward, ends, data_loss(model, self.loss, y), x, y)
            rows = len(keras.tree.flatten(y)[0])
            totals += rows * np.array([float(each) for each in changes(x, y)])
            examples += rows
        return totals / examples


@register_criterion("taylor")
@dataclass(frozen=True)
class BlockTaylor(_OfLoss):
    """First-order change of the loss if a block is left out.

    The score is the absolute sum of `dL/dy * (y - x)` over the values of a block's output y, where x is its input and L
    the mean loss of all examples, whatever batches they come in.

    Attributes:
        batches: Use only this many batches. Default: all.
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.

    Reference:
        Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference (ICLR 2017), equation
        7, of what a block adds instead of a feature map.
    """

    name: ClassVar[str] = "taylor"

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Returns the scores `[blocks]`.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        return finite_scores(np.abs(self._mean_changes(model, blocks, data, _first_order)), blocks)


def _first_order(forward: Forward, ends: BlockEnds, loss: Loss, x: Any, y: Any) -> Changes:
    """Returns a function, traced for a batch, to the first-order changes of the loss, one for each block."""

    def compute(x: Any, y: Any) -> list[tf.Tensor]:
        tensors = forward.inputs(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for call in forward.calls:
                forward.run(call, tensors)
                if id(call) in ends.index:
                    tape.watch(tensors[id(call.outputs[0])])
            value = loss(y, forward.results(tensors))
        pairs = [[tensors[tensor] for tensor in ends.pair(index)] for index in range(len(ends.calls))]
        gradients = tape.gradient(
            value, [after for _, after in pairs], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        return [
            tf.reduce_sum(tf.cast(gradient, tf.float64) * (tf.cast(after, tf.float64) - tf.cast(before, tf.float64)))
            for (before, after), gradient in zip(pairs, gradients, strict=True)
        ]

    return traced(compute, x, y)


@register_criterion("loss")
@dataclass(frozen=True)
class LossIncrease(_OfLoss):
    """Loss of the model without a block, minus its loss with it.

    Both are means over all examples. The model runs once, and again for each block from there on.

    Attributes:
        batches: Use only this many batches. Default: all.
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.

    Reference:
        Kim et al., Shortened LLaMA: Depth Pruning for Large Language Models (2024, arXiv:2402.02834), whose score is
        the perplexity without a block.
    """

    name: ClassVar[str] = "loss"

    def scores(self, model: keras.Model, blocks: Sequence[ResidualBlock], data: Any = None) -> np.ndarray:
        """Returns the scores `[blocks]`, negative where the loss is smaller without the block.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        return finite_scores(self._mean_changes(model, blocks, data, _increases), blocks)


def _increases(forward: Forward, ends: BlockEnds, loss: Loss, *_: Any) -> Changes:
    """Returns a function from a batch to the loss without each block, minus that of the whole model."""

    def compute(x: Any, y: Any) -> list[float]:
        tensors = forward.inputs(x)
        for call in forward.calls:
            forward.run(call, tensors)
        whole = float(loss(y, forward.results(tensors)))
        others = (_without(forward, ends, index, tensors) for index in range(len(ends.calls)))
        return [float(loss(y, forward.results(each))) - whole for each in others]

    return compute


def _without(forward: Forward, ends: BlockEnds, index: int, tensors: Tensors) -> Tensors:
    """Returns the values of symbolic tensors without a block, given those with it."""
    found = copy(tensors)
    changed = {output: tensors[taken] for output, taken in ends.without(index)}
    found.update(changed)
    different = set(changed)
    for call in forward.calls:
        if call is not ends.calls[index] and any(id(tensor) in different for tensor in call.inputs):
            forward.run(call, found)
            different.update(map(id, call.outputs))
    return found
