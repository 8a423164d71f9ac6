"""Criteria by first derivatives of the loss on data: SNIP, the gradient norm, the empirical Fisher matrix.

All are computed on a copy of the model, in double precision unless asked otherwise, and by the loss's mean over all
examples, whatever batches they come in. `BatchLosses` averages what is computed from the losses of batches; GraSP uses
it, too.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfprune.criteria.data import CriterionData, examples_at_once
from tfprune.criteria.loss import data_loss, last_activation
from tfprune.criteria.registry import DataUse
from tfprune.criteria.weights.criterion import Precision, Tensors, WeightCriterion, register_weight_criterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError, check_choice


@dataclass(frozen=True, kw_only=True)
class DataCriterion(WeightCriterion):
    """Base class of criteria for weights that use the loss on data.

    The model runs in inference mode, except for batch norms if so asked. Scores are those of the loss's mean over all
    examples. They are accumulated over batches, and memory is that of one batch. Without statistics of the batch, the
    scores depend on the batches only by rounding.

    Attributes:
        loss: What `compile(loss=...)` takes, a mean over examples. Default: the loss that the model is compiled with,
            and cross-entropy if it is not compiled.
        precision: Number format of the computation.
        batch_size: The most examples to compute with at the same time; this bounds the memory. Arrays and larger
            batches are cut, see `CriterionData.batches`. Default: `examples_at_once(model)`.
    """

    uses_data: ClassVar[DataUse] = "always"
    loss: Any = None
    precision: Precision = "float64"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("precision", self.precision, Precision)
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ConfigError(f"batch_size: expected a whole number of at least 1, received {size!r}")

    def _losses(self, model: keras.Model, masks: Tensors, data: CriterionData | None, **options: Any) -> "BatchLosses":
        """Returns the losses on the data, which are made once in a pruning; options as for `BatchLosses`."""

        return self.once("losses", lambda: self._new_losses(model, masks, data, **options))

    def _new_losses(
        self, model: keras.Model, masks: Tensors, data: CriterionData | None, **options: Any
    ) -> "BatchLosses":
        source = CriterionData.required(data, self.name).for_loss(model, self.loss)
        scoring = ScoringModel(model, list(masks), self.precision)
        size = self.batch_size or examples_at_once(model)
        return BatchLosses(model, scoring, source, loss=self.loss, batch_size=size, **options)


@dataclass(frozen=True, kw_only=True)
class GradientCriterion(DataCriterion):
    """Base class of criteria that score a weight by itself and by the gradient of the loss.

    Attributes:
        batch_statistics: Let batch norms use the statistics of the batch, or of each part that `batch_size` cuts it to.
    """

    batch_statistics: bool = False

    @abstractmethod
    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """Scores a kernel, given the gradient by it; pruned weights have gradients, too."""

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        losses = self._losses(model, masks, data, batch_statistics=self.batch_statistics)
        gradients = losses.mean(losses.gradients, losses.scoring.values(masks))
        return {name: self._score(kernel.value, gradients[name]) for name, kernel in losses.scoring.kernels.items()}


@register_weight_criterion("snip")
@dataclass(frozen=True, kw_only=True)
class SNIP(GradientCriterion):
    """Connection sensitivity: absolute product of a weight and its gradient.

    This is the absolute derivative of the loss by a weight's mask, `|w * dL/d(mask w)|`. The authors' code divides by
    the sum of all scores, which does not change their order.

    Reference:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (ICLR 2019), equation 6;
        with several iterations: de Jorge et al., Progressive Skeletonization (ICLR 2021), there with `revive`: FORCE.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(kernel * gradient)


@register_weight_criterion("grad_norm")
@dataclass(frozen=True, kw_only=True)
class GradNorm(GradientCriterion):
    """Absolute gradient of the loss by a weight.

    It is `|dL/dw|`: SNIP without the weight. Pruned weights have gradients, too, and come back with `revive`.

    Reference:
        The gradient norm as a proxy: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021);
        single weights by gradient size: Evci et al., Rigging the Lottery (ICML 2020), where connections grow so.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(gradient)


@register_weight_criterion("fisher")
@dataclass(frozen=True, kw_only=True)
class Fisher(DataCriterion):
    """Squared weight times its entry of the empirical Fisher matrix.

    The score is half of that product; the entry is the mean square of the gradients of single examples. These are
    computed example by example, since squares of sums over batches would be something else: as many backward passes as
    there are examples.

    Reference:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning (2018), equation 8, for single
        weights; the diagonal approximation is that of LeCun et al., Optimal Brain Damage (NeurIPS 1989).
    """

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`."""
        losses = self._losses(model, masks, data)
        kernels = losses.scoring.values(masks)
        squares = losses.mean(losses.squared_gradients, kernels)
        return {name: kernels[name] ** 2 * value / 2 for name, value in squares.items()}


class BatchLosses:
    """Losses of batches as functions of kernels, and means over all examples of what is computed from them.

    Args:
        model: The model, which decides what the loss is.
        scoring: Its copy to compute on.
        data: The data.
        loss: What `compile(loss=...)` takes. None: the model's, or cross-entropy.
        temperature: Divides the logits.
        batch_statistics: Let batch norms use the statistics of the batch.
        batch_size: The most examples of a batch; arrays and larger batches are cut, see `CriterionData.batches`.
        parts: Then split each batch into this many parts, one after the other.

    Attributes:
        scoring: The copy.

    Raises:
        ConfigError: The data cannot be used, or the temperature not with this model.
    """

    def __init__(
        self,
        model: keras.Model,
        scoring: ScoringModel,
        data: CriterionData,
        *,
        loss: Any = None,
        temperature: float = 1.0,
        batch_statistics: bool = False,
        batch_size: int | None = None,
        parts: int = 1,
    ) -> None:
        self.scoring, self._data, self._batch_size, self._parts = scoring, data, batch_size, parts
        self._batch_statistics = batch_statistics
        _, y = next(data.batches(1))
        self._loss = data_loss(model, loss, y, dtype=scoring.dtype)
        self._cooled = _cooled(model, temperature)
        self._traced: dict[str, Callable[..., dict[str, tf.Tensor]]] = {}

    def __call__(self, kernels: Tensors, x: Any, y: Any) -> tf.Tensor:
        """Returns the loss of a batch, a scalar."""
        outputs = self.scoring(kernels, x, batch_statistics=self._batch_statistics)
        return self._loss(y, self._cooled(outputs))

    def gradients(self, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Returns the gradients of a batch's loss, by the name of the kernel."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            value = self(kernels, x, y)
        return _dense(tape.gradient(value, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO))

    def squared_gradients(self, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Returns the squared gradients of single examples, their mean over a batch, by the name of the kernel."""
        names = list(kernels)

        def add(row: tf.Tensor, *totals: tf.Tensor) -> tuple[tf.Tensor, ...]:
            one_x, one_y = keras.tree.map_structure(lambda leaf: leaf[row : row + 1], (x, y))
            found = self.gradients(kernels, one_x, one_y)
            return row + 1, *(total + tf.square(found[name]) for name, total in zip(names, totals, strict=True))

        rows = tf.shape(keras.tree.flatten(y)[0])[0]
        start = (tf.constant(0), *(tf.zeros_like(kernels[name]) for name in names))
        _, *totals = tf.while_loop(lambda row, *_: row < rows, add, start, parallel_iterations=1)
        return {name: total / tf.cast(rows, total.dtype) for name, total in zip(names, totals, strict=True)}

    def hessian_product(self, vector: Tensors, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Returns the Hessian of a batch's loss times a vector, by differentiating twice.

        Args:
            vector: By name, like `kernels`.
            kernels: Where to take the Hessian.
            x: Inputs of the batch.
            y: Its labels.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            gradients = self.gradients(kernels, x, y)
            along = tf.add_n([tf.reduce_sum(vector[name] * gradient) for name, gradient in gradients.items()])
        return tape.gradient(along, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def mean(self, method: Callable[..., dict[str, tf.Tensor]], *tensors: Tensors) -> dict[str, tf.Tensor]:
        """Averages what a method returns, itself the mean over a batch, over all examples.

        Args:
            method: A method of this object that takes `(*tensors, x, y)`. It is traced once, for batches of any size.
            *tensors: Its first arguments.

        Returns:
            The means by name: those of one batch with all examples, up to rounding, unless statistics of batches are
            used.
        """
        function = self._traced.get(method.__name__)
        if function is None:
            function = self._traced[method.__name__] = self._trace(method, *tensors)
        total: dict[str, tf.Tensor] = {}
        examples = 0
        for x, y in self._batches():
            rows = len(keras.tree.flatten(y)[0])
            found = {name: rows * value for name, value in function(*tensors, x, y).items()}
            total = {name: total[name] + value if total else value for name, value in found.items()}
            examples += rows
        return {name: value / examples for name, value in total.items()}

    def _trace(self, method: Callable[..., dict[str, tf.Tensor]], *tensors: Tensors) -> Callable[..., Any]:
        x, y = next(self._batches())
        compiled = tf.function(method, reduce_retracing=True)
        compiled.get_concrete_function(*tensors, *keras.tree.map_structure(_any_size, (x, y)))
        return compiled

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        """Iterates over the batches, part by part; parts without an example are left out."""
        for x, y in self._data.batches(size=self._batch_size):
            rows = len(keras.tree.flatten(y)[0])
            size = rows // self._parts
            bounds = [part * size for part in range(self._parts)] + [rows]
            for start, stop in pairwise(bounds):
                if stop > start:
                    yield _rows(x, start, stop), _rows(y, start, stop)


def _rows(structure: Any, start: int, stop: int) -> Any:
    return keras.tree.map_structure(lambda leaf: leaf[start:stop], structure)


def _dense(gradients: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Converts gradients of embeddings, which are sparse, to tensors."""
    return {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


def _cooled(model: keras.Model, temperature: float) -> Callable[[Any], Any]:
    """Returns a function that divides logits; from probabilities it computes those of the divided logits."""
    if temperature == 1.0:
        return lambda outputs: outputs
    activation = last_activation(model) if len(model.outputs) == 1 else "several outputs"
    if activation == "linear":
        return lambda outputs: keras.tree.map_structure(lambda logits: logits / temperature, outputs)
    if activation == "softmax":
        return lambda outputs: keras.tree.map_structure(
            lambda shares: tf.nn.softmax(tf.math.log(shares) / temperature), outputs
        )
    raise ConfigError(
        f"temperature: expected a model that ends in logits or a softmax, received one with {activation}; set "
        "temperature=1"
    )
