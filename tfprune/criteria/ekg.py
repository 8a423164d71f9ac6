"""What closing a gate on a unit does to the loss, to first order in the gate."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.aggregation import Normalize, check_choice, combine, normalized, some_judged
from tfprune.criteria.criterion_data import CriterionData, DataUse
from tfprune.criteria.data_loss import data_loss
from tfprune.criteria.gates import Gates
from tfprune.criteria.kernel_axis import sum_by_unit
from tfprune.criteria.registry import register
from tfprune.criteria.traced import traced
from tfprune.graph import ChannelGroups


@register("ekg")
@dataclass(frozen=True)
class EKG:
    """The importance of gates by which EKG's search ranks units.

    A gate sits at the last activation before kernels read a unit. Its importance in a batch is `|sum of y * dL/dy|`
    over examples and positions, with batch norm on the statistics of the batch; gates of a unit and batches add up.
    What a layer reads of itself, such as attention heads or a recurrent state, has its gate where the kernel reads it.

    In the search the loss has a second term, cross-entropy to the mean of the sub-networks found so far. At first that
    mean is the network's own output, where the term has no gradient: these are the scores of the search's first step.

    Attributes:
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
        batches: Look at so many batches only. Default: all.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scores as they are.

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
        """Scores `[channels]`; NaN for units that nothing with a kernel reads.

        Raises:
            ConfigError: There is no data, or no loss, that can be used.
        """
        source = CriterionData.required(data, self.name)
        gates = Gates(model, groups)
        totals = [np.zeros(len(units)) for units in gates.units]
        examples = 0
        gradients = None
        for x, y in source.batches(self.batches):
            gradients = gradients or traced(partial(gates.gradients, data_loss(model, self.loss, y)), x, y)
            size = len(keras.tree.flatten(y)[0])
            for total, values in zip(totals, gradients(x, y), strict=True):
                total += size * np.abs(np.asarray(values, np.float64))
            examples += size
        parts = [sum_by_unit(units, total / examples) for units, total in zip(gates.units, totals, strict=True)]
        scores = combine(parts, groups.channels, "sum")
        complaint = "criterion ekg: no kernel reads a prunable unit; use random"
        return normalized(some_judged(scores, complaint), groups, self.normalize)
