"""How much the loss depends on whether a weight is there."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfprune.criteria.base import CriterionData, DataUse
from tfprune.criteria.channels.base import check_choice
from tfprune.criteria.loss import data_loss, last_activation
from tfprune.criteria.weights.base import Precision, Scorer, Tensors, WeightCriterion
from tfprune.criteria.weights.registry import register_weight_criterion
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError


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


@dataclass(frozen=True, kw_only=True)
class GradientCriterion(DataCriterion):
    """A criterion that scores a weight by itself and by the gradient of the loss, summed over the batches.

    Attributes:
        batch_statistics: Let batch norms use the statistics of the batch.
    """

    batch_statistics: bool = False

    @abstractmethod
    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        """The scores of a weight of the same shape."""

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scoring, gradients = summed_gradients(
            model,
            list(weights),
            data,
            criterion=self.name,
            loss=self.loss,
            precision=self.precision,
            batch_statistics=self.batch_statistics,
        )

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            found = gradients(masks)
            return {name: self._score(kernel.value, found[name]) for name, kernel in scoring.kernels.items()}

        return score


@register_weight_criterion("snip")
@dataclass(frozen=True, kw_only=True)
class SNIP(GradientCriterion):
    """The absolute derivative of the loss by a weight's mask, `|w * dL/d(mask w)|`, for the sum over the batches.

    The originals divide by the sum of all scores, which changes no order.

    Reference:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (ICLR 2019), equation 6;
        with several iterations: de Jorge et al., Progressive Skeletonization (ICLR 2021), there with `revive`: FORCE.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(kernel * gradient)


@register_weight_criterion("grad_norm")
@dataclass(frozen=True, kw_only=True)
class GradNorm(GradientCriterion):
    """The absolute gradient of the loss, `|dL/dw|`, for the sum over the batches: SNIP without the weight.

    Pruned weights have gradients, too, and come back with `revive`.

    Reference:
        The gradient norm as a proxy: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS (ICLR 2021);
        single weights by gradient size: Evci et al., Rigging the Lottery (ICML 2020), where connections grow so.
    """

    def _score(self, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        return tf.abs(gradient)


@register_weight_criterion("fisher")
@dataclass(frozen=True, kw_only=True)
class Fisher(DataCriterion):
    """Half the squared weight times its entry of the empirical Fisher matrix, the mean square of examples' gradients.

    The gradients are taken example by example, as squares of sums over batches would be something else: as many
    backward passes as there are examples.

    Reference:
        Theis et al., Faster gaze prediction with dense networks and Fisher pruning (2018), equation 8, for single
        weights; the diagonal approximation is that of LeCun et al., Optimal Brain Damage (NeurIPS 1989).
    """

    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        scoring = ScoringModel(model, list(weights), self.precision)
        losses = BatchLosses(model, scoring, CriterionData.required(data, self.name), loss=self.loss)
        traced: list[Callable[..., dict[str, tf.Tensor]]] = []

        def score(masks: Tensors) -> dict[str, tf.Tensor]:
            kernels = scoring.values(masks)
            if not traced:
                traced.append(losses.traced(lambda *arguments: _squares(losses, *arguments), kernels))
            total = {name: tf.zeros_like(kernel) for name, kernel in kernels.items()}
            examples = 0
            for x, y in losses.batches():
                found = traced[0](kernels, x, y)
                total = {name: value + found[name] for name, value in total.items()}
                examples += len(keras.tree.flatten(y)[0])
            return {name: kernels[name] ** 2 * value / (2 * examples) for name, value in total.items()}

        return score


class BatchLosses:
    """Losses of batches, and functions of them, traced once for batches of any size.

    Args:
        model: The model, which says what the loss is.
        scoring: Its copy to compute on.
        data: The data.
        loss: What `compile(loss=...)` takes. None: the model's, or cross-entropy.
        temperature: Divides the logits.
        batch_statistics: Let batch norms use the statistics of the batch.
        parts: Take each batch in so many parts, one after the other.

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
        parts: int = 1,
    ) -> None:
        self._scoring, self._data, self._parts = scoring, data, parts
        self._batch_statistics = batch_statistics
        _, y = next(data.batches(1))
        self._loss = data_loss(model, loss, y, dtype=scoring.dtype)
        self._cooled = _cooled(model, temperature)

    def __call__(self, kernels: Tensors, x: Any, y: Any) -> tf.Tensor:
        """The loss of a batch, a scalar."""
        outputs = self._scoring(kernels, x, batch_statistics=self._batch_statistics)
        return self._loss(y, self._cooled(outputs))

    def gradients(self, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
        """Its gradients, by the name of the kernel."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(kernels)
            value = self(kernels, x, y)
        return _dense(tape.gradient(value, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO))

    def traced(self, function: Callable[..., dict[str, tf.Tensor]], *tensors: Tensors) -> Callable[..., Any]:
        """A `tf.function` of `(*tensors, x, y)`, traced once.

        Args:
            function: What to trace.
            *tensors: Dicts of tensors like those that it is going to be called with.
        """
        x, y = next(self.batches())
        compiled = tf.function(function, reduce_retracing=True)
        compiled.get_concrete_function(*tensors, *keras.tree.map_structure(_any_size, (x, y)))
        return compiled

    def batches(self) -> Iterator[tuple[Any, Any]]:
        """Goes through the batches, part by part; parts without an example are left out."""
        for x, y in self._data.batches():
            rows = len(keras.tree.flatten(y)[0])
            size = rows // self._parts
            bounds = [part * size for part in range(self._parts)] + [rows]
            for start, stop in pairwise(bounds):
                if stop > start:
                    yield _rows(x, start, stop), _rows(y, start, stop)


def _squares(losses: BatchLosses, kernels: Tensors, x: Any, y: Any) -> dict[str, tf.Tensor]:
    """Squared gradients of single examples, summed."""
    names = list(kernels)

    def add(row: tf.Tensor, *totals: tf.Tensor) -> tuple[tf.Tensor, ...]:
        one_x, one_y = keras.tree.map_structure(lambda leaf: leaf[row : row + 1], (x, y))
        found = losses.gradients(kernels, one_x, one_y)
        return row + 1, *(total + tf.square(found[name]) for name, total in zip(names, totals, strict=True))

    rows = tf.shape(keras.tree.flatten(y)[0])[0]
    start = (tf.constant(0), *(tf.zeros_like(kernels[name]) for name in names))
    _, *totals = tf.while_loop(lambda row, *_: row < rows, add, start, parallel_iterations=1)
    return dict(zip(names, totals, strict=True))


def summed_gradients(
    model: keras.Model,
    names: list[str],
    data: Any,
    *,
    criterion: str,
    loss: Any,
    precision: str,
    batch_statistics: bool,
) -> tuple[ScoringModel, Callable[[Tensors], dict[str, tf.Tensor]]]:
    """Makes what sums the gradients of the batches' mean losses with respect to kernels.

    Args:
        model: The model. It is not changed.
        names: The kernels.
        data: Data as users give them.
        criterion: Name of the criterion that asks, for messages.
        loss: See `data_loss`.
        precision: What to compute in.
        batch_statistics: Let batch norms use the statistics of the batch.

    Returns:
        The copy that is computed on, and a function from masks to gradients by name. Pruned weights have gradients,
        too.

    Raises:
        ConfigError: There is no data, or no loss, that can be used.
    """
    source = CriterionData.required(data, criterion)
    scoring = ScoringModel(model, names, precision)
    losses = BatchLosses(model, scoring, source, loss=loss, batch_statistics=batch_statistics)
    traced: list[Callable[..., dict[str, tf.Tensor]]] = []

    def compute(masks: Tensors) -> dict[str, tf.Tensor]:
        kernels = scoring.values(masks)
        if not traced:
            traced.append(losses.traced(losses.gradients, kernels))
        total = {name: tf.zeros_like(kernel) for name, kernel in kernels.items()}
        for x, y in losses.batches():
            found = traced[0](kernels, x, y)
            total = {name: value + found[name] for name, value in total.items()}
        return total

    return scoring, compute


def _rows(structure: Any, start: int, stop: int) -> Any:
    return keras.tree.map_structure(lambda leaf: leaf[start:stop], structure)


def _dense(gradients: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(gradient) for name, gradient in gradients.items()}


def _any_size(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)


def _cooled(model: keras.Model, temperature: float) -> Callable[[Any], Any]:
    """Divides logits; probabilities become those that the divided logits give."""
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
