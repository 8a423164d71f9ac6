"""Moving averages of batch norms, measured again after a model was pruned."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.keras_private import flat_layers

Batch = Mapping[str, Any]


def recalibrate_batch_norm(model: keras.Model, batches: Iterable[Batch]) -> int:
    """Sets the moving mean and variance of all batch norms to the averages of the batch statistics.

    After channels are cut or weights replaced, the old averages do not fit any more. Every batch counts the same.
    Frozen batch norms (`trainable=False`), which run on their moving averages, stay as they are.

    Args:
        model: A built model; its other variables do not change.
        batches: Dicts with `images` `[batch, height, width, channels]`.

    Returns:
        The number of batch norms that were set.

    Raises:
        ConfigError: If there is no batch, or a batch norm has momentum 1 and so never moves.
    """
    layers = [
        layer for layer in flat_layers(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if any(layer.momentum >= 1.0 for layer in layers):
        raise ConfigError("expected batch norms with a momentum below 1, received one with 1")
    averages = [(v, layer.momentum) for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    index_of = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
    positions = [index_of[id(variable)] for variable, _ in averages]
    sums = [tf.zeros(variable.shape) for variable, _ in averages]
    count = 0
    compute = None
    for batch in batches:
        images = tf.convert_to_tensor(batch["images"])
        if compute is None:
            # One trace for all batch sizes; called as a plain function, it would be traced for the short last batch.
            signature = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
            compute = tf.function(_batch_statistics(model, positions)).get_concrete_function(signature)
        sums = [total + value for total, value in zip(sums, compute(images), strict=True)]
        count += 1
    if not count:
        raise ConfigError("batches: expected at least one, received none")
    for (variable, momentum), total in zip(averages, sums, strict=True):
        variable.assign(total / (count * (1.0 - momentum)))
    return len(layers)


def _batch_statistics(model: keras.Model, positions: list[int]) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Returns a function from images to (1 - momentum) * batch statistics: one update of an average of 0.

    Keras' `stateless_call` runs the model, not `graph.Forward`: the updated averages are the result here, and a model
    without a graph has them, too.
    """

    def compute(images: tf.Tensor) -> list[tf.Tensor]:
        trainable = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
        frozen = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
        for position in positions:
            frozen[position] = tf.zeros_like(frozen[position])
        _, values = model.stateless_call(trainable, frozen, images, training=True)
        return [values[position] for position in positions]

    return compute
