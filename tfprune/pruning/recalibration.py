"""Moving averages of batch norms, measured again after a model was pruned."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.arguments import instance
from tfprune.batches.inputs import input_batches
from tfprune.criteria.forward import traced
from tfprune.errors import ConfigError
from tfprune.keras_private import flat_layers

Batch = Mapping[str, Any]


def recalibrate_batch_norm(model: keras.Model, batches: Any) -> int:
    """Sets the moving mean and variance of all batch norms to the averages of the batch statistics.

    After channels are cut or weights replaced, the old averages do not fit any more. Every batch counts the same.
    Frozen batch norms (`trainable=False`), which run on their moving averages, stay as they are.

    Args:
        model: A built model; its other variables do not change.
        batches: Dicts with `images` `[batch, height, width, channels]`; or any other data, see
            `tfprune.batches.source.Source`.

    Returns:
        The number of batch norms that were set.

    Raises:
        ConfigError: If there is no batch, the model does not take what there is, or a batch norm has momentum 1 and so
            never moves.
    """
    return Recalibration(model)({"images": x} for x in input_batches(model, batches, "batches"))


class Recalibration:
    """`recalibrate_batch_norm` of one model, as often as its weights change; the computation is traced once.

    Args:
        model: A built model.

    Raises:
        ConfigError: A batch norm has momentum 1 and so never moves.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = instance("model", model, keras.Model, "a Keras model")
        self._layers = [
            layer
            for layer in flat_layers(model)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        if any(layer.momentum >= 1.0 for layer in self._layers):
            raise ConfigError("expected batch norms with a momentum below 1, received one with 1")
        self._averages = [
            (v, layer.momentum) for layer in self._layers for v in (layer.moving_mean, layer.moving_variance)
        ]
        index_of = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
        self._positions = [index_of[id(variable)] for variable, _ in self._averages]
        self._compute: Any = None

    def __call__(self, batches: Iterable[Batch]) -> int:
        """Sets the averages, see `recalibrate_batch_norm`."""
        sums = [tf.zeros(variable.shape, variable.dtype) for variable, _ in self._averages]
        count = 0
        for batch in batches:
            images = keras.tree.map_structure(tf.convert_to_tensor, batch["images"])
            if self._compute is None:
                self._compute = traced(self._statistics, images)
            sums = [total + value for total, value in zip(sums, self._compute(images), strict=True)]
            count += 1
        if not count:
            raise ConfigError("batches: expected at least one, received none")
        for (variable, momentum), total in zip(self._averages, sums, strict=True):
            variable.assign(total / (count * (1.0 - momentum)))
        return len(self._layers)

    def _statistics(self, images: Any) -> list[tf.Tensor]:
        """Returns (1 - momentum) * batch statistics: one update of an average of 0.

        Keras' `stateless_call` runs the model, not `graph.Forward`: the updated averages are the result here, and a
        model without a graph has them, too.
        """
        trainable = [tf.convert_to_tensor(variable.value) for variable in self._model.trainable_variables]
        frozen = [tf.convert_to_tensor(variable.value) for variable in self._model.non_trainable_variables]
        for position in self._positions:
            frozen[position] = tf.zeros_like(frozen[position])
        _, values = self._model.stateless_call(trainable, frozen, images, training=True)
        return [values[position] for position in self._positions]
