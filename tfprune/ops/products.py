"""Convolutions and matrix products whose two gradients can be had one by one, without a forward product."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

Forward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class AnyProduct:
    """A product whose gradients TensorFlow derives. Its forward product is done again where nothing removes dead code.

    Graphs and XLA remove it; only eager execution does the product for nothing.

    Attributes:
        forward: From inputs and kernel to outputs, linear in both.
    """

    forward: Forward

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of the inputs."""
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = self.forward(inputs, kernel)
        return tape.gradient(outputs, inputs, output_gradients=upstream)

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of the kernel."""
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            outputs = self.forward(inputs, kernel)
        return tape.gradient(outputs, kernel, output_gradients=upstream)


@dataclass(frozen=True)
class Conv2DProduct:
    """A convolution in one group, or a depthwise one with equal strides; without dilation, channels last.

    Attributes:
        forward: The convolution.
        strides: Along height and width.
        padding: `SAME` or `VALID`.
        depthwise: Whether it is depthwise.
    """

    forward: Forward
    strides: tuple[int, int]
    padding: str
    depthwise: bool = False

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of `[batch, height, width, in]`."""
        ops = tf.raw_ops
        gradient = ops.DepthwiseConv2dNativeBackpropInput if self.depthwise else ops.Conv2DBackpropInput
        return gradient(
            input_sizes=tf.shape(inputs),
            filter=kernel,
            out_backprop=upstream,
            strides=[1, *self.strides, 1],
            padding=self.padding,
        )

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of `[kernel height, kernel width, in, filters or depth multiplier]`."""
        ops = tf.raw_ops
        gradient = ops.DepthwiseConv2dNativeBackpropFilter if self.depthwise else ops.Conv2DBackpropFilter
        return gradient(
            input=inputs,
            filter_sizes=kernel.shape,
            out_backprop=upstream,
            strides=[1, *self.strides, 1],
            padding=self.padding,
        )


@dataclass(frozen=True)
class DenseProduct:
    """A matrix product along the last axis.

    Attributes:
        forward: The product.
    """

    forward: Forward

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of `[..., in]`."""
        return tf.matmul(upstream, kernel, transpose_b=True)

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of `[in, units]`."""
        rows = tf.reshape(inputs, [-1, kernel.shape[0]])
        return tf.matmul(rows, tf.reshape(upstream, [-1, kernel.shape[1]]), transpose_a=True)
