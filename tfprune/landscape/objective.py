"""The loss of a model over some data, as a function of its trainable weights."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.data import CriterionData
from tfprune.criteria.forward import traced
from tfprune.criteria.loss import data_loss
from tfprune.criteria.weights.scoring_model import ScoringModel
from tfprune.errors import ConfigError, UnsupportedLayerError, first_line
from tfprune.graph import Forward
from tfprune.graph.calls import check_weights
from tfprune.landscape.settings import BatchNorm, Precision
from tfprune.pruning.recalibration import Recalibration

Weights = Sequence[np.ndarray]
"""A value for each trainable weight, in the order of the model."""


class Objective:
    """The mean loss of a model over all examples of some data, at weights of one's choice.

    Everything is computed on a copy of the model, and the data are read once and kept: all points see the same batches.
    Dropout and other noise are off. Penalties of regularizers do not count. Losses and products of batches are computed
    in `dtype` and summed in float64, each batch with the number of its examples.

    Args:
        model: A functional or sequential model. It is not changed.
        data: A pair of arrays, or batches `(x, y)`; see `tfprune.criteria.CriterionData`.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy.
        batch_norm: The statistics that batch norms use, see `section`. Frozen ones always use their moving averages.
        batches: Use only so many batches. Default: all.
        dtype: Number format of the computation, `float32` or `float64`.

    Attributes:
        start: The weights of the model, float64 arrays.
        center: The mean loss at these weights.
        examples: How many examples there are.
        model: The copy.

    Raises:
        ConfigError: The data or the loss cannot be used, the loss is not finite, or there is nothing to train.
        UnsupportedLayerError: The model has no graph.
    """

    def __init__(
        self,
        model: keras.Model,
        data: Any,
        *,
        loss: Any = None,
        batch_norm: BatchNorm = "batch",
        batches: int | None = None,
        dtype: Precision = "float32",
    ) -> None:
        check_weights(model)
        source = CriterionData.of(data).for_loss(model, loss)
        scoring = ScoringModel(model, (), dtype)
        self.model = scoring.model
        self._variables = self.model.trainable_variables
        if not self._variables:
            raise ConfigError(f"expected trainable weights in {model.name}, found none; set trainable=True")
        self._batches = list(source.batches(batches))
        self._rows = [len(keras.tree.flatten(y)[0]) for _, y in self._batches]
        self.examples = sum(self._rows)
        self._forward = Forward(self.model, batch_statistics=batch_norm == "batch")
        self._recalibration = Recalibration(self.model) if batch_norm == "recalibrated" else None
        self._vector = [tf.Variable(tf.zeros(each.shape, dtype), trainable=False) for each in self._variables]
        self._products: Callable[[Any, Any], list[tf.Tensor]] | None = None
        self.start = [np.asarray(each, np.float64) for each in self._variables]
        x, y = self._batches[0]
        self._loss = data_loss(model, loss, y, dtype=dtype)
        self._values = traced(tf.autograph.experimental.do_not_convert(self._value), x, y)
        self.center = self.value(self.start)
        if not np.isfinite(self.center):
            raise ConfigError(
                f"expected a finite loss, received {self.center} at the center; give a model and data with one"
            )

    @property
    def variables(self) -> list[keras.Variable]:
        """The trainable weights of the copy, in the order of `start`."""
        return list(self._variables)

    def value(self, weights: Weights) -> float:
        """Returns the mean loss at some weights; batch norms are measured again first, if so asked."""
        self._move(weights)
        losses = [rows * float(self._values(x, y)) for rows, (x, y) in zip(self._rows, self._batches, strict=True)]
        return sum(losses) / self.examples

    def hessian_product(self, vector: np.ndarray) -> np.ndarray:
        """Computes the Hessian of the mean loss, at the weights of the model, times a vector.

        The gradient is differentiated a second time, so the product is exact up to rounding. Statistics of batches
        depend on the weights and are differentiated, too; moving and recalibrated averages are constants.

        Args:
            vector: Float64 `[weights]`, all trainable weights flat, one after the other.

        Returns:
            Float64 `[weights]`.

        Raises:
            UnsupportedLayerError: TensorFlow has no second derivative of an operation of the model.
            ConfigError: The product is not finite.
        """
        if self._products is None:
            self._products = self._traced_products()
        ends = np.cumsum([each.size for each in self.start])
        for variable, values in zip(self._vector, np.split(vector, ends[:-1]), strict=True):
            variable.assign(tf.constant(values.reshape(variable.shape), variable.dtype))
        total = np.zeros(len(vector))
        for rows, (x, y) in zip(self._rows, self._batches, strict=True):
            found = self._products(x, y)
            total += rows * np.concatenate([np.asarray(each, np.float64).ravel() for each in found])
        if not np.isfinite(total).all():
            raise ConfigError("data: expected finite second derivatives, received NaN or infinity; fix data or model")
        return total / self.examples

    def _move(self, weights: Weights) -> None:
        """Gives the copy some weights, and averages that fit them, if so asked."""
        for variable, values in zip(self._variables, weights, strict=True):
            variable.assign(values)
        if self._recalibration is not None:
            self._recalibration({"images": x} for x, _ in self._batches)

    def _value(self, x: Any, y: Any) -> tf.Tensor:
        return self._loss(y, self._forward(x))

    def _product(self, x: Any, y: Any) -> list[tf.Tensor]:
        values = [tf.identity(variable.value) for variable in self._variables]
        given = list(zip(self._variables, values, strict=True))
        zero = tf.UnconnectedGradients.ZERO
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(values)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(values)
                value = self._loss(y, self._forward(x, weights=given))
            gradients = inner.gradient(value, values, unconnected_gradients=zero)
            along = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(gradients, self._vector, strict=True)])
        products = outer.gradient(along, values, unconnected_gradients=zero)
        return [tf.convert_to_tensor(each) for each in products]  # those of embeddings are sparse

    def _traced_products(self) -> Callable[[Any, Any], list[tf.Tensor]]:
        x, y = self._batches[0]
        try:
            # AutoGraph would wrap the error.
            return traced(tf.autograph.experimental.do_not_convert(self._product), x, y)
        except LookupError as error:
            raise UnsupportedLayerError(
                f"the loss of {self.model.name} has no second derivative in TensorFlow: {first_line(error)}; expected "
                "layers that can be differentiated twice"
            ) from error
