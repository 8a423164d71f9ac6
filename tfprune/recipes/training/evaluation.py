"""Loss and accuracy of a model on a data set.

`evaluate` returns both, `predict_logits` the logits. The compiled functions are kept as long as the model exists, so
that an evaluation after each epoch traces only once.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary, ref

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, truth
from tfprune.batches.inputs import InputCheck
from tfprune.batches.labels import class_numbers
from tfprune.batches.source import Source
from tfprune.recipes.data.dataset import Batch
from tfprune.recipes.training.step import Compile, default_devices, uses_xla

_FUNCTIONS: WeakKeyDictionary[keras.Model, dict[tuple[bool, bool], Callable]] = WeakKeyDictionary()


class Evaluation(NamedTuple):
    """Means over all examples.

    Attributes:
        loss: Cross-entropy.
        top1: Fraction of examples whose label has the largest logit.
        top5: Fraction of examples whose label is among the five largest logits (among all, with fewer classes).
        examples: Number of examples.
    """

    loss: float
    top1: float
    top5: float
    examples: int


def evaluate(
    model: keras.Model, batches: Iterable[Batch], *, batch_statistics: bool = False, compile: Compile = "auto"
) -> Evaluation:
    """Computes loss and accuracy of a model.

    Every example has the same weight, also in a shorter last batch (the original averaged over batches).

    Args:
        model: A built model that returns logits.
        batches: Dicts with `images` `[batch, height, width, channels]` and `labels` `[batch]`, class numbers; or any
            other data, see `tfprune.batches.source.Source`.
        batch_statistics: Whether to normalize each batch by its own statistics instead of the moving averages. The
            result then depends on how the data are cut into batches. No variable changes.
        compile: XLA: on, off, or auto (on if all devices are GPUs).

    Returns:
        Means over all examples.

    Raises:
        ConfigError: There is no batch, the model does not take the images, or labels are no class numbers.
    """
    forward = snapshot_forward(model, batch_statistics=batch_statistics, compile=compile)
    check = InputCheck(model, "batches")
    sums = np.zeros(3)
    examples = 0
    for batch in Source(batches, "batches", check.names).batches(once=True):
        logits = forward(check(batch.x, batch.place))
        labels = class_numbers(batch.y, tuple(logits.shape), "batches: labels", batch.place)
        sums += _sums(logits, tf.constant(labels)).numpy()
        examples += batch.rows
    loss, top1, top5 = (sums / examples).tolist()
    return Evaluation(loss, top1, top5, examples)


def predict_logits(
    model: keras.Model, batches: Iterable[Batch], *, batch_statistics: bool = False, compile: Compile = "auto"
) -> np.ndarray:
    """Computes the logits of a data set; arguments as in `evaluate`.

    Returns:
        `[examples, classes]`, float32.

    Raises:
        ConfigError: There is no batch.
    """
    forward = snapshot_forward(model, batch_statistics=batch_statistics, compile=compile)
    check = InputCheck(model, "batches")
    read = Source(batches, "batches", check.names).batches(once=True)
    return np.concatenate([forward(check(batch.x, batch.place)).numpy() for batch in read])


@tf.function(reduce_retracing=True)
def _sums(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns summed loss, top-1 and top-5 hits; equal logits rank by class: constant ones score as chance."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    ranked = tf.cast(tf.math.top_k(logits, tf.minimum(5, tf.shape(logits)[-1])).indices, labels.dtype)
    hits = tf.cast(ranked == labels[:, None], tf.float64)
    return tf.stack([tf.reduce_sum(tf.cast(losses, tf.float64)), tf.reduce_sum(hits[:, 0]), tf.reduce_sum(hits)])


def snapshot_forward(
    model: keras.Model, *, batch_statistics: bool = False, compile: Compile = "auto"
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from inputs to logits, with the current weights of the model.

    The compiled graphs are kept as long as the model lives, so evaluating after each epoch traces once. Weights are
    read once, not for every batch. The whole model is run by Keras' `stateless_call` and not by `graph.Forward`, since
    any model can be evaluated, also one without a graph, and dropout and models with a `call` of their own must do in
    training mode what they do in training.

    Args:
        model: A built model.
        batch_statistics: Whether to run in training mode: batch norm uses the statistics of each batch, dropout is
            active. No variable changes.
        compile: XLA: on, off, or auto (on if all devices are GPUs).

    Returns:
        A function from `[batch, ...]` to `[batch, classes]`, float32.
    """
    instance("model", model, keras.Model, "a Keras model")
    batch_statistics = truth("batch_statistics", batch_statistics)
    functions = _FUNCTIONS.setdefault(model, {})
    key = (batch_statistics, uses_xla(compile, default_devices()))
    if key not in functions:
        functions[key] = _make_forward(model, training=batch_statistics, jit=key[1])
    trainable = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
    frozen = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
    return partial(functions[key], trainable, frozen)


def _make_forward(model: keras.Model, *, training: bool, jit: bool) -> Callable:
    """Returns a function from trainable weights, other weights and inputs to logits."""
    alive: ref[keras.Model] = ref(model)  # a reference from the function would keep the model, its key, alive

    def compute(trainable: list[tf.Tensor], frozen: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        model = alive()
        assert model is not None, "the model was deleted"
        logits, _ = model.stateless_call(trainable, frozen, inputs, training=training)
        return tf.cast(logits, tf.float32)

    function = tf.function(compute, jit_compile=jit)
    traced: dict[tuple, Callable] = {}

    def run(trainable: list[tf.Tensor], frozen: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        # One trace serves all batch sizes, so TensorFlow does not warn about retracing.
        kind = (tuple(inputs.shape[1:]), inputs.dtype)
        if kind not in traced:
            images = tf.TensorSpec([None, *inputs.shape[1:]], inputs.dtype)
            traced[kind] = function.get_concrete_function(trainable, frozen, images)
        return traced[kind](trainable, frozen, inputs)

    return run
