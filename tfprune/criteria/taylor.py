"""What removing a filter does to the loss, to first order in its weights."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.aggregation import Normalize, check_choice, combine, normalized, some_judged
from tfprune.criteria.criterion_data import CriterionData, DataUse
from tfprune.criteria.data_loss import data_loss
from tfprune.criteria.forward import Forward
from tfprune.criteria.kernel_axis import kernel_axes
from tfprune.criteria.registry import register
from tfprune.criteria.traced import traced
from tfprune.graph import ChannelGroups


@register("taylor")
@dataclass(frozen=True)
class Taylor:
    """The squared sum of `w * dL/dw` over the weights that make a unit, averaged over batches.

    A unit that several kernels make has the sum of what they say. Batch norm runs on its moving averages. Kernels count
    whether they are trainable or not.

    Attributes:
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
        batches: Look at so many batches only. Default: all.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scores as they are, as in the paper.

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
        """Scores `[channels]`; NaN for units that no kernel makes.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        source = CriterionData.required(data, self.name)
        axes = kernel_axes(groups, ("out",))
        variables = list({id(axis.variable): axis.variable for axis in axes}.values())
        totals = [np.zeros(len(axis.units)) for axis in axes]
        seen = 0
        gradients = None
        for x, y in source.batches(self.batches):
            gradients = gradients or traced(_gradients(model, groups, data_loss(model, self.loss, y), variables), x, y)
            found = {
                id(variable): np.asarray(variable, np.float64) * np.asarray(gradient, np.float64)
                for variable, gradient in zip(variables, gradients(x, y), strict=True)
            }
            for axis, total in zip(axes, totals, strict=True):
                total += axis.by_unit(axis.rows(found[id(axis.variable)]).sum(axis=1)) ** 2
            seen += 1
        parts = [(axis.units, total / seen) for axis, total in zip(axes, totals, strict=True)]
        scores = combine(parts, groups.channels, "sum")
        complaint = "criterion taylor: no kernel makes a prunable unit; use random"
        return normalized(some_judged(scores, complaint), groups, self.normalize)


def _gradients(model: keras.Model, groups: ChannelGroups, loss: Any, variables: list[keras.Variable]) -> Any:
    """A function from a batch to the gradients of its loss."""
    forward = Forward(model, groups)
    sources = [variable.value for variable in variables]

    def compute(x: Any, y: Any) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for source in sources:
                tape.watch(source)
            value = loss(y, forward(x))
        found = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(gradient) for gradient in found]

    return compute
