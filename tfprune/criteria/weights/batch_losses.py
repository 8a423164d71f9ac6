"""The loss of a scoring model, batch by batch, as a function of its kernels."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.data_loss import data_loss, last_activation
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError

Tensors = Mapping[str, tf.Tensor]


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
