"""A model's forward pass as a compiled function that leaves the model untouched."""

from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary, ref

import keras
import tensorflow as tf

from tfprune.training.compilation import Compile, default_devices, uses_xla

_FUNCTIONS: WeakKeyDictionary[keras.Model, dict[tuple[bool, bool], Callable]] = WeakKeyDictionary()


def snapshot_forward(
    model: keras.Model, *, batch_statistics: bool = False, compile: Compile = "auto"
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from inputs to logits, with the weights that the model has now.

    The compiled graphs are kept as long as the model lives, so evaluating after each epoch traces once. Weights are
    read once, not for every batch.

    Args:
        model: A built model.
        batch_statistics: Run in training mode: batch norm takes the statistics of each batch, dropout drops. No
            variable changes.
        compile: XLA: on, off, or auto (on where all devices are GPUs).

    Returns:
        A function from `[batch, ...]` to `[batch, classes]`, float32.
    """
    functions = _FUNCTIONS.setdefault(model, {})
    key = (batch_statistics, uses_xla(compile, default_devices()))
    if key not in functions:
        functions[key] = _make(model, training=batch_statistics, jit=key[1])
    trainable = [tf.convert_to_tensor(variable.value) for variable in model.trainable_variables]
    frozen = [tf.convert_to_tensor(variable.value) for variable in model.non_trainable_variables]
    return partial(functions[key], trainable, frozen)


def _make(model: keras.Model, *, training: bool, jit: bool) -> Callable:
    alive: ref[keras.Model] = ref(model)  # the function must not keep the model that keeps it

    def compute(trainable: list[tf.Tensor], frozen: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        model = alive()
        assert model is not None, "called through a live model"
        logits, _ = model.stateless_call(trainable, frozen, inputs, training=training)
        return tf.cast(logits, tf.float32)

    function = tf.function(compute, jit_compile=jit)
    traced: dict[tuple, Callable] = {}

    def run(trainable: list[tf.Tensor], frozen: list[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
        # One trace serves all batch sizes, and TensorFlow has no reason to warn of many.
        kind = (tuple(inputs.shape[1:]), inputs.dtype)
        if kind not in traced:
            images = tf.TensorSpec([None, *inputs.shape[1:]], inputs.dtype)
            traced[kind] = function.get_concrete_function(trainable, frozen, images)
        return traced[kind](trainable, frozen, inputs)

    return run
