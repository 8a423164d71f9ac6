"""Batch normalization on TensorFlow's fused kernel.

`fused_batch_norm` and `synchronized_batch_norm` normalize with the statistics of a batch, `normalize_with` with given
ones. On CPUs, channel counts that do not fill the vectors of oneDNN's kernel are up to eight times slower; neighboring
rows are then read as one wider row.
"""

import math
from typing import NamedTuple

import tensorflow as tf

# Channels per vector of oneDNN's kernel.
_TRAINING_VECTOR = {tf.float32: 8, tf.bfloat16: 16}
_INFERENCE_VECTOR = {tf.float32: 4, tf.bfloat16: 16}


class NormalizedBatch(NamedTuple):
    """A normalized batch.

    Attributes:
        output: The normalized values, of the shape and type of the inputs.
        mean: Mean of the batch, float32 `[channels]`.
        variance: Biased variance of the batch, float32 `[channels]`.
        rows: Number of values per channel, float32.
    """

    output: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor
    rows: tf.Tensor


def fused_batch_norm(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, epsilon: float) -> NormalizedBatch:
    """Normalizes a batch with its own statistics.

    Unlike Keras' implementation it stops no gradient, so second derivatives are right, and it reads bfloat16 inputs
    without a float32 copy.

    Args:
        inputs: `[batch, ..., channels]` with at least two dimensions; float32, bfloat16 or float16.
        scale: `[channels]`, float32.
        offset: `[channels]`, float32.
        epsilon: Added to the variance.

    Returns:
        The output, the batch's mean and *biased* variance (the kernel itself gives the unbiased one), and the number
        of values per channel.

    Example:
        >>> batch = fused_batch_norm(tf.constant([[1.0], [3.0]]), tf.ones(1), tf.zeros(1), epsilon=0.0)
        >>> batch.output.numpy().ravel().tolist(), float(batch.mean[0]), float(batch.variance[0])
        ([-1.0, 1.0], 2.0, 1.0)
    """
    fold = _fold(inputs, _TRAINING_VECTOR)
    if fold > 1:
        return _folded_batch_norm(inputs, scale, offset, fold, epsilon)
    rows = _count_rows(inputs)
    output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=_as_images(inputs),
        scale=scale,
        offset=offset,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        is_training=True,
    )
    output = output if len(inputs.shape) == 4 else _shaped_as(inputs, output)
    return NormalizedBatch(output, mean, variance * ((rows - 1.0) / rows), rows)


def normalize_with(
    inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, epsilon: float
) -> tf.Tensor:
    """Normalizes with given, constant statistics (inference); no gradient flows into `mean` and `variance`.

    Args:
        inputs: `[batch, ..., channels]` with at least two dimensions; float32, bfloat16 or float16.
        mean: `[channels]`, float32.
        variance: `[channels]`, float32.
        scale: `[channels]`, float32.
        offset: `[channels]`, float32.
        epsilon: Added to the variance.

    Returns:
        The output in the shape and type of `inputs`.
    """
    fold = _fold(inputs, _INFERENCE_VECTOR)
    output = tf.raw_ops.FusedBatchNormV3(
        x=_as_images(inputs, fold),
        scale=tf.tile(scale, [fold]),
        offset=tf.tile(offset, [fold]),
        mean=tf.tile(mean, [fold]),
        variance=tf.tile(variance, [fold]),
        epsilon=epsilon,
        is_training=False,
    )[0]
    return output if len(inputs.shape) == 4 and fold == 1 else _shaped_as(inputs, output)


def synchronized_batch_norm(
    inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *, epsilon: float
) -> NormalizedBatch:
    """Normalizes with the statistics of all replicas' batches. To be called in a replica context.

    All rows count equally, so replicas may hold different numbers of them. There are two reductions: the variance is
    taken around the common mean, which loses no digits where the mean is large.

    Args:
        inputs: `[batch, ..., channels]`, this replica's part.
        scale: `[channels]`, float32.
        offset: `[channels]`, float32.
        epsilon: Added to the variance.

    Returns:
        The same as `fused_batch_norm`; mean and variance are the same on all replicas.
    """
    context = tf.distribute.get_replica_context()
    values = tf.cast(inputs, tf.float32)
    axes = list(range(len(inputs.shape) - 1))
    local = [_count_rows(inputs), tf.reduce_sum(values, axes)]
    rows, total = context.all_reduce(tf.distribute.ReduceOp.SUM, local)
    mean = total / rows
    centered = values - mean
    variance = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(tf.square(centered), axes)) / rows
    output = centered * (tf.math.rsqrt(variance + epsilon) * scale) + offset
    return NormalizedBatch(tf.cast(output, inputs.dtype), mean, variance, rows)


def _folded_batch_norm(
    inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, fold: int, epsilon: float
) -> NormalizedBatch:
    """Normalizes a batch whose channel count the kernel is slow on, by elementary functions on wider rows.

    `fold` neighboring rows of the `[rows, channels]` matrix are read as one, so that every function works on whole
    vectors; sums over wide rows are then added up per channel.
    """
    wide = tf.cast(tf.reshape(inputs, [-1, fold * inputs.shape[-1]]), tf.float32)
    rows = _count_rows(inputs)

    def per_channel(sums: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.reshape(sums, [fold, -1]), 0)

    mean = per_channel(tf.reduce_sum(wide, 0)) / rows
    centered = wide - tf.tile(mean, [fold])
    variance = per_channel(tf.reduce_sum(tf.square(centered), 0)) / rows
    factor = tf.math.rsqrt(variance + epsilon) * scale
    output = centered * tf.tile(factor, [fold]) + tf.tile(offset, [fold])
    return NormalizedBatch(_shaped_as(inputs, tf.cast(output, inputs.dtype)), mean, variance, rows)


def _fold(inputs: tf.Tensor, vectors: dict[tf.DType, int]) -> int:
    """Returns how many rows to read as one, so that their channels fill whole vectors of the CPU.

    It is 1 on GPUs, and where the number of rows is not known to be divisible.
    """
    channels = inputs.shape[-1]
    fold = math.lcm(channels, vectors.get(inputs.dtype, 1)) // channels
    known = math.prod(size for size in inputs.shape[:-1] if size is not None)
    return 1 if tf.config.list_logical_devices("GPU") or known % fold else fold


def _count_rows(inputs: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], tf.float32)


def _as_images(inputs: tf.Tensor, fold: int = 1) -> tf.Tensor:
    """Views `[batch, ..., channels]` as the `[batch, height, width, channels]` that the kernel takes."""
    if len(inputs.shape) == 4 and fold == 1:
        return inputs
    return tf.reshape(inputs, [-1, 1, 1, fold * inputs.shape[-1]])


def _shaped_as(inputs: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Undoes `_as_images`."""
    return tf.ensure_shape(tf.reshape(output, tf.shape(inputs)), inputs.shape)
