"""A copy of a model to score weights on: in double precision, with weights of one's choice."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfprune.graph import Forward, prunable_weights, rebuild
from tfprune.graph.calls import functional_graph
from tfprune.graph.layer_copies import configuration, default_policy, recast_layer
from tfprune.keras_private import input_structure, set_tensor_type
from tfprune.layers import FusedBatchNormalization

ChangeLayer = Callable[[keras.Layer, keras.Layer], None]


class ScoringModel:
    """A copy of a model that computes with kernels that it is given.

    It runs in inference mode, but for batch norms if so asked; nothing in it changes on the way. Normalizations in it
    have right second derivatives.

    Args:
        model: A functional or sequential model. It is not changed.
        names: The weights to give, names of `prunable_weights(model)`.
        dtype: What to compute in, `float64` or `float32`.
        change_layer: Called with each layer of the copy before it is built, to change it, and with the old layer.

    Attributes:
        model: The copy.
        kernels: The variables of the copy by name, as in `names`.
    """

    def __init__(
        self, model: keras.Model, names: Sequence[str], dtype: str, *, change_layer: ChangeLayer | None = None
    ) -> None:
        def make(layer: keras.Layer) -> keras.Layer:
            new = differentiable_norm(layer, dtype) or recast_layer(layer, dtype)
            if change_layer is not None:
                change_layer(new, layer)
            return new

        self.dtype = dtype
        with default_policy(dtype):  # of layers that layers make
            self.model = rebuild(model, make)
        every = prunable_weights(self.model)
        self.kernels = {name: every[name] for name in names}
        self._graph: Any = functional_graph(self.model)
        for tensor in self._graph.inputs:
            if keras.backend.is_float_dtype(tensor.dtype):
                set_tensor_type(tensor, dtype)  # or Keras would round what it is given to float32
        self._forward = {norms: Forward(self.model, batch_statistics=norms) for norms in (False, True)}

    @property
    def inputs(self) -> Any:
        """The symbolic inputs, in the structure that the model takes."""
        return input_structure(self._graph)

    def values(self, masks: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns values of the kernels, 0 where a mask is False."""
        return {
            name: tf.where(masks[name], variable.value, tf.zeros([], variable.dtype))
            for name, variable in self.kernels.items()
        }

    def __call__(self, kernels: Mapping[str, tf.Tensor], x: Any, *, batch_statistics: bool = False) -> Any:
        """Runs the copy.

        Args:
            kernels: Values of the kernels by name; gradients flow into them.
            x: Inputs of a batch, in the structure that the model takes.
            batch_statistics: Let batch norms use the statistics of the batch, except frozen ones.

        Returns:
            The outputs, in the model's structure.
        """
        given = [(self.kernels[name], value) for name, value in kernels.items()]
        return self._forward[batch_statistics](x, weights=given)


def differentiable_norm(layer: keras.Layer, dtype: str) -> keras.Layer | None:
    """Returns a new layer, not built, that computes the same and has correct second derivatives.

    Args:
        layer: Any layer. It is not changed.
        dtype: Number format of the new layer.

    Returns:
        The new layer; None if `layer` is not such a normalization layer of Keras or tfprune.
    """
    kind = _KINDS.get(type(layer))
    if kind is None or getattr(layer, "rms_scaling", False):
        return None
    known = kind(name=layer.name).get_config()
    config = {key: value for key, value in configuration(layer).items() if key in known}
    return kind.from_config(config | {"dtype": dtype})


class _BatchNormalization(keras.layers.BatchNormalization):
    def _moments(self, inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if mask is not None:
            return super()._moments(inputs, mask)  # these have no stopped gradient
        return _moments(inputs, self._reduction_axes, keepdims=False)


class _GroupNormalization(keras.layers.GroupNormalization):
    def _apply_normalization(self, reshaped_inputs: tf.Tensor, input_shape: Any) -> tf.Tensor:
        axes = list(range(1, len(reshaped_inputs.shape)))
        axes.pop(-2 if self.axis == -1 else self.axis - 1)
        mean, variance = _moments(reshaped_inputs, axes, keepdims=True)
        outputs = (reshaped_inputs - mean) * tf.math.rsqrt(variance + self.epsilon)
        shape = self._create_broadcast_shape(input_shape)
        return _affine(outputs, self.gamma if self.scale else None, self.beta if self.center else None, shape)


class _LayerNormalization(keras.layers.LayerNormalization):
    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        rank = len(inputs.shape)
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        axes = sorted(axis % rank for axis in axes)
        mean, variance = _moments(inputs, axes, keepdims=True)
        outputs = (inputs - mean) * tf.math.rsqrt(variance + self.epsilon)
        shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(rank)]
        return _affine(outputs, self.gamma if self.scale else None, self.beta if self.center else None, shape)


def _moments(inputs: tf.Tensor, axes: Any, *, keepdims: bool) -> tuple[tf.Tensor, tf.Tensor]:
    mean = tf.reduce_mean(inputs, axes, keepdims=True)
    variance = tf.reduce_mean(tf.square(inputs - mean), axes, keepdims=keepdims)
    return mean if keepdims else tf.squeeze(mean, axes), variance


def _affine(outputs: tf.Tensor, scale: Any, offset: Any, shape: list[int]) -> tf.Tensor:
    if scale is not None:
        outputs = outputs * tf.reshape(tf.cast(scale, outputs.dtype), shape)
    return outputs if offset is None else outputs + tf.reshape(tf.cast(offset, outputs.dtype), shape)


_KINDS: dict[type, type[keras.layers.Layer]] = {
    keras.layers.BatchNormalization: _BatchNormalization,
    FusedBatchNormalization: _BatchNormalization,
    keras.layers.GroupNormalization: _GroupNormalization,
    keras.layers.LayerNormalization: _LayerNormalization,
}
