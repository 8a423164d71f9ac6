"""What criteria for weights that look at data have in common."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tfprune.criteria.aggregation import check_choice
from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.weights.weight_criterion import Precision, WeightCriterion


@dataclass(frozen=True, kw_only=True)
class DataCriterion(WeightCriterion):
    """A criterion for weights that looks at the loss of data.

    The model runs in inference mode, but for batch norms if so asked.

    Attributes:
        loss: What `compile(loss=...)` takes. Default: the loss that the model is compiled with, and cross-entropy if it
            is not compiled.
        precision: What to compute in.
    """

    uses_data: ClassVar[DataUse] = "always"
    loss: Any = None
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("precision", self.precision, Precision)
