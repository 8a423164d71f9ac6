"""GraSP: weights that preserve the flow of gradients."""

from dataclasses import dataclass
from typing import Literal

import keras
import tensorflow as tf

from tfprune.arguments import number, whole_number
from tfprune.criteria.data import CriterionData
from tfprune.criteria.weights.criterion import Tensors, register_weight_criterion
from tfprune.criteria.weights.gradient import BatchLosses, DataCriterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import check_choice
from tfprune.keras_private import flat_layers

Variant = Literal["wang", "peekaboo"]


@register_weight_criterion("grasp")
@dataclass(frozen=True, kw_only=True)
class GraSP(DataCriterion):
    """Gradient flow: keeps weights whose removal reduces the gradient norm.

    The scores are `w * Hg`, with the gradient g and the Hessian H of the loss. A first pass over all batches computes
    g, a second one Hg with the whole g. There are two published variants; each of their settings can be chosen
    separately, too.

    - `wang`, by the authors of GraSP: batch norms use the statistics of the batch, each batch is split into two halves
      (it should have the same number of examples of each class, sorted by class), and the kernels of dense layers are
      drawn again from Glorot's distribution, for the scores only. The statistics are those of half a batch, or half of
      `batch_size` examples where it cuts batches.
    - `peekaboo`: batch norms use their moving averages, which mean nothing before training, and batches are not split.
      On a ResNet-20 it finds far worse tickets (docs/measured.md, "Pruning before training").

    Attributes:
        variant: Which of the two.
        temperature: Divides the logits.
        batch_statistics: Let batch norms use the statistics of the batch. Default: that of the variant.
        parts: Split each batch, after `batch_size` has cut it, into this many parts. Default: that of the variant.
        redraw_dense: Draw the kernels of dense layers again. Default: that of the variant.
        seed: Seed of these draws.

    Reference:
        Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow (ICLR 2020), equation 8 and
        algorithm 2; Chen et al., Peek-a-Boo (ICLR 2022), the authors' `GraSP`.
    """

    variant: Variant = "wang"
    temperature: float = 200.0
    batch_statistics: bool | None = None
    parts: int | None = None
    redraw_dense: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("variant", self.variant, Variant)
        object.__setattr__(self, "temperature", number("temperature", self.temperature, above=0))
        if self.parts is not None:
            object.__setattr__(self, "parts", whole_number("parts", self.parts))

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        losses = self.once("losses", lambda: self._variant_losses(model, masks, data))
        kernels = losses.scoring.values(masks)
        gradient = losses.mean(losses.gradients, kernels)
        gradient = {name: tf.where(masks[name], value, tf.zeros_like(value)) for name, value in gradient.items()}
        product = losses.mean(losses.hessian_product, gradient, kernels)
        return {name: kernel * product[name] for name, kernel in kernels.items()}  # 0 where pruned

    def _variant_losses(self, model: keras.Model, masks: Tensors, data: CriterionData | None) -> BatchLosses:
        authors = self.variant == "wang"
        losses = self._new_losses(
            model,
            masks,
            data,
            temperature=self.temperature,
            batch_statistics=authors if self.batch_statistics is None else self.batch_statistics,
            parts=self.parts or (2 if authors else 1),
        )
        if authors if self.redraw_dense is None else self.redraw_dense:
            _redraw(losses.scoring, self.seed)
        return losses


def _redraw(scoring: ScoringModel, seed: int) -> None:
    """Gives dense layers of the copy new kernels."""
    dense = {
        id(layer.kernel)
        for layer in flat_layers(scoring.model)
        if isinstance(layer, keras.layers.Dense) and layer.built
    }
    for index, variable in enumerate(scoring.kernels.values()):
        if id(variable) in dense:
            # In float64 whatever the precision, which would draw other numbers.
            variable.assign(keras.initializers.GlorotNormal(seed + index)(variable.shape, "float64"))
