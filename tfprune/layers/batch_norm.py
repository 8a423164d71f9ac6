"""Batch normalization on TensorFlow's fused kernel, interchangeable with Keras' layer."""

from typing import Any

import keras
import tensorflow as tf

from tfprune.arguments import number, truth, whole_number
from tfprune.errors import ConfigError
from tfprune.ops.batch_norm import NormalizedBatch, fused_batch_norm, normalize_with, synchronized_batch_norm

_FUSED_TYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="tfprune")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on TensorFlow's fused kernel: the same numbers and variables in less time.

    It differs from its parent in speed, in computing on bfloat16 and float16 activations without casts (parameters and
    statistics stay float32), in having correct second derivatives, and in weighting rows rather than replicas equally
    if `synchronized`. Inputs with a Keras mask, and float64, have no fused kernel: the parent computes them.

    Args:
        axis: The last axis; no other is supported.
        momentum: Fraction of the old value in the moving averages.
        epsilon: Added to the variance.
        center: Whether there is an offset `beta`.
        scale: Whether there is a factor `gamma`.
        synchronized: Whether the replicas of a `tf.distribute` strategy share their batch statistics, so that they are
            those of the global batch.
        unbiased_variance: Whether the moving variance follows the batches' variance times `n / (n - 1)`, where `n` is
            the number of values per channel, as in PyTorch; Keras uses the biased variance.
        **kwargs: Further arguments of `keras.layers.BatchNormalization`, except `renorm`.

    Call arguments:
        inputs: `[batch, ..., channels]` with at least two dimensions.
        training: Whether to use the batch's statistics and to update the moving ones.

    Raises:
        ConfigError: `renorm` is set, or `axis` is not the last one.

    Example:
        >>> layer = FusedBatchNormalization()
        >>> layer(keras.ops.ones((4, 8, 8, 3)), training=True).shape
        TensorShape([4, 8, 8, 3])

    Reference:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015, https://arxiv.org/abs/1502.03167.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: bool = False,
        unbiased_variance: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("renorm"):
            raise ConfigError("renorm: expected False, received True; keep keras.layers.BatchNormalization there")
        super().__init__(
            axis=whole_number("axis", axis, at_least=-1),
            momentum=number("momentum", momentum, at_least=0, at_most=1),
            epsilon=number("epsilon", epsilon, at_least=0),
            center=truth("center", center),
            scale=truth("scale", scale),
            synchronized=truth("synchronized", synchronized),
            **kwargs,
        )
        self.unbiased_variance = truth("unbiased_variance", unbiased_variance)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates gamma, beta and the moving averages."""
        if self.axis not in (-1, len(input_shape) - 1):
            raise ConfigError(
                f"axis: expected the last one (-1 or {len(input_shape) - 1}), received {self.axis}; "
                "keep keras.layers.BatchNormalization there"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalizes the inputs."""
        if mask is not None or keras.backend.standardize_dtype(inputs.dtype) not in _FUSED_TYPES:
            return self._call_unfused(inputs, training, mask)
        scale, offset = self._scale_and_offset(inputs.shape[-1])
        if not (training and self.trainable):
            mean, variance = tf.convert_to_tensor(self.moving_mean), tf.convert_to_tensor(self.moving_variance)
            return normalize_with(inputs, mean, variance, scale, offset, epsilon=self.epsilon)
        batch = self._normalize_batch(inputs, scale, offset)
        self._update_moving_averages(batch, _bessel(batch.rows) if self.unbiased_variance else 1.0)
        return batch.output

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "unbiased_variance": self.unbiased_variance}

    def _call_unfused(self, inputs: tf.Tensor, training: bool | None, mask: tf.Tensor | None) -> tf.Tensor:
        old = tf.convert_to_tensor(self.moving_variance)
        outputs = super().call(inputs, training=training, mask=mask)
        if training and self.trainable and self.unbiased_variance:
            # The parent has added its share of the biased variance; add what the unbiased one has more.
            new = tf.convert_to_tensor(self.moving_variance)
            share = new - self.momentum * old
            self.moving_variance.assign(new + share * (tf.cast(_bessel(self._rows(inputs, mask)), new.dtype) - 1.0))
        return outputs

    def _rows(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Returns the number of values per channel in the batch statistics."""
        rows = tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], tf.float64)
        if mask is not None:
            rows *= tf.reduce_mean(tf.cast(mask, rows.dtype))
        context = tf.distribute.get_replica_context()
        if self.synchronized and context is not None and context.num_replicas_in_sync > 1:
            rows = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
        return rows

    def _scale_and_offset(self, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
        scale = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones([channels])
        offset = tf.convert_to_tensor(self.beta) if self.center else tf.zeros([channels])
        return scale, offset

    def _normalize_batch(self, inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> NormalizedBatch:
        context = tf.distribute.get_replica_context()
        if self.synchronized and context is not None and context.num_replicas_in_sync > 1:
            return synchronized_batch_norm(inputs, scale, offset, epsilon=self.epsilon)
        return fused_batch_norm(inputs, scale, offset, epsilon=self.epsilon)

    def _update_moving_averages(self, batch: NormalizedBatch, bessel: tf.Tensor | float) -> None:
        variance = batch.variance * tf.cast(bessel, batch.variance.dtype)
        for average, value in ((self.moving_mean, batch.mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + tf.stop_gradient(value) * (1.0 - self.momentum))


def _bessel(rows: tf.Tensor) -> tf.Tensor:
    """Returns the factor from biased to unbiased variance; 1 for a single value, which has no variance."""
    rows = tf.cast(rows, tf.float64)
    return rows / tf.maximum(rows - 1.0, 1.0)


@keras.saving.register_keras_serializable(package="tfprune")
class FrozenBatchNormalization(FusedBatchNormalization):
    """`FusedBatchNormalization` with constant gamma and beta; the moving averages still follow the batches.

    A layer with `trainable=False` would use the moving averages in training, too.

    Args:
        *args: Those of `FusedBatchNormalization`.
        train_offset: Whether beta is trained.
        **kwargs: Those of `FusedBatchNormalization`.
    """

    def __init__(self, *args: Any, train_offset: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.train_offset = truth("train_offset", train_offset)

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> keras.Variable:
        """Adds a weight as Keras does, with gamma and beta frozen."""
        if name == "gamma" or (name == "beta" and not self.train_offset):
            kwargs["trainable"] = False
        return super().add_weight(*args, name=name, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "train_offset": self.train_offset}
