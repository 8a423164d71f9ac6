"""Predictive sign gradients (PSG): gradients of kernels computed from quantized inputs and output gradients.

`psg_product` is a linear layer (a `Product`: dense, convolution, or any other) whose outputs and input gradients are
exact, and whose kernel gradient is predicted as `PSGSettings` says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from tfprune.arguments import number, optional, truth, whole_number
from tfprune.errors import ConfigError

IDENTITY_BITS = 32
"""With this many bits, values are not quantized."""

LinearFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Product(Protocol):
    """A function that is linear in its inputs and in its kernel, such as a convolution or a matrix product."""

    def forward(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Computes the outputs."""

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the inputs from that of the outputs; of `inputs` only the shape matters."""

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the kernel from that of the outputs; of `kernel` only the shape matters."""


@dataclass(frozen=True, kw_only=True)
class PSGSettings:
    """How the gradient of a kernel is predicted.

    Attributes:
        input_bits: Bits of the inputs, 2 to 32; 32 leaves them as they are.
        gradient_bits: Bits of the outputs' gradient, likewise.
        relative_threshold: Predicted gradients below this fraction of the largest one are dropped, in [0, 1].
        absolute_threshold: Predicted gradients below this value are dropped; instead of `relative_threshold`.
        sparsify: Set dropped gradients to 0. Otherwise the exact gradient replaces them.
        take_sign: Pass on the sign of the result only.
        input_signed: Whether inputs may be negative. If not, negative ones count as 0.
        quantize: Predict gradients. If False, the gradient is the exact one (or its sign).

    Raises:
        ConfigError: A value is out of range, or both thresholds are given.
    """

    input_bits: int = 8
    gradient_bits: int = 16
    relative_threshold: float = 0.0
    absolute_threshold: float | None = None
    sparsify: bool = False
    take_sign: bool = True
    input_signed: bool = False
    quantize: bool = True

    def __post_init__(self) -> None:
        for name in ("input_bits", "gradient_bits"):
            bits = whole_number(name, getattr(self, name), at_least=2, at_most=IDENTITY_BITS)
            object.__setattr__(self, name, bits)
        for name in ("sparsify", "take_sign", "input_signed", "quantize"):
            object.__setattr__(self, name, truth(name, getattr(self, name)))
        relative = number("relative_threshold", self.relative_threshold, at_least=0, at_most=1)
        absolute = optional(number, "absolute_threshold", self.absolute_threshold, at_least=0)
        object.__setattr__(self, "relative_threshold", relative)
        object.__setattr__(self, "absolute_threshold", absolute)
        if absolute is not None and relative:
            raise ConfigError(
                f"expected one threshold, received relative_threshold={self.relative_threshold!r} and "
                f"absolute_threshold={self.absolute_threshold!r}; give one of them"
            )

    @property
    def selects(self) -> bool:
        """Whether predicted gradients may be dropped."""
        return self.quantize and bool(self.relative_threshold or self.absolute_threshold)


def psg_product(inputs: tf.Tensor, kernel: tf.Tensor, product: Product, settings: PSGSettings) -> tf.Tensor:
    """Computes a product whose kernel gets a predicted gradient; outputs and the inputs' gradient are exact.

    The backward pass does no forward product, and computes the exact gradient of the kernel only where it is needed:
    without `quantize`, or where predicted gradients may be dropped and `sparsify` is off.

    Args:
        inputs: `[batch, ...]`.
        kernel: The effective kernel. Apply a mask to it beforehand: automatic differentiation then applies the mask to
            the gradient, after the threshold was taken over all positions.
        product: The product.
        settings: How the gradient is predicted.

    Returns:
        `product.forward(inputs, kernel)`.

    Reference:
        Wang et al., "E2-Train" (NeurIPS 2019), section 3.3; Chen et al., "Peek-a-Boo" (ICLR 2022). The scale of inputs
        is the mean over examples of their maxima, as in the latter's code.
    """

    @tf.custom_gradient
    def apply(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[Any, Any]]]:
        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_inputs = product.inputs_gradient(inputs, kernel, upstream)
            return to_inputs, psg_gradient(inputs, kernel, upstream, product, settings)

        return product.forward(inputs, kernel), backward

    return apply(inputs, kernel)


def psg_gradient(
    inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, product: Product, settings: PSGSettings
) -> tf.Tensor:
    """Computes the gradient that a kernel gets.

    Args:
        inputs: `[batch, ...]`.
        kernel: The effective kernel.
        upstream: Gradient of the outputs.
        product: The product.
        settings: How the gradient is predicted.

    Returns:
        The gradient, of the kernel's shape.
    """
    if not settings.quantize:
        gradient = product.kernel_gradient(inputs, kernel, upstream)
    else:
        rough_inputs = quantize(inputs, settings.input_bits, mean_of_maxima(inputs), settings.input_signed)
        rough_upstream = quantize(upstream, settings.gradient_bits, maximum(upstream), signed=True)
        gradient = product.kernel_gradient(rough_inputs, kernel, rough_upstream)
        if settings.selects:
            small = tf.abs(gradient) < _threshold(gradient, settings)
            exact = tf.zeros([], gradient.dtype)
            if not settings.sparsify:
                exact = product.kernel_gradient(inputs, kernel, upstream)
            gradient = tf.where(small, exact, gradient)
    return tf.sign(gradient) if settings.take_sign else gradient


def _threshold(gradient: tf.Tensor, settings: PSGSettings) -> tf.Tensor:
    if settings.absolute_threshold is not None:
        return tf.cast(settings.absolute_threshold, gradient.dtype)
    return tf.cast(settings.relative_threshold, gradient.dtype) * tf.cast(maximum(gradient), gradient.dtype)


def quantize(values: tf.Tensor, bits: int, bound: tf.Tensor, signed: bool) -> tf.Tensor:
    """Rounds values to `2**bits` levels in `[-bound, bound)` (signed) or `[0, bound)`.

    Zeros stay exactly 0; values outside the range become the nearest level. The largest level is `bound - step`.

    Args:
        values: Of any shape and real type.
        bits: Number of bits; from 32 on the values are returned as they are.
        bound: Scalar float32, or of a shape that broadcasts to that of `values`. Where it is 0, all values become 0.
        signed: Whether there are levels on both sides of 0.

    Returns:
        The rounded values, of the shape and type of `values`; computed in float32 where that type is narrower.

    Example:
        >>> quantize(tf.constant([-0.3, 0.0, 0.3, 2.0]), 2, tf.constant(1.0), signed=True).numpy().tolist()
        [-0.5, 0.0, 0.5, 0.5]

    Reference:
        Wang et al., "E2-Train" (NeurIPS 2019), as in the code of Chen et al., "Peek-a-Boo" (ICLR 2022).
    """
    if bits >= IDENTITY_BITS:
        return values
    wide = values if values.dtype == tf.float64 else tf.cast(values, tf.float32)
    bound = tf.cast(bound, wide.dtype)
    step = bound * (2.0 ** (1 - bits) if signed else 2.0**-bits)
    step = tf.where(step > 0, step, tf.ones_like(step))  # zeros are not divided by zero
    levels = tf.round(_clip((wide + bound if signed else wide) / step, 2.0**bits - 1))
    # 0 is exactly a level, as bound / step is a power of two.
    rounded = levels * step - bound if signed else levels * step
    return tf.cast(rounded, values.dtype)


def mean_of_maxima(values: tf.Tensor) -> tf.Tensor:
    """Returns the mean over examples of their largest absolute value, scalar float32 (or float64); 0 for no examples.

    Args:
        values: `[batch, ...]`.
    """
    largest = _largest(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)
    return tf.math.divide_no_nan(tf.reduce_sum(largest), tf.cast(tf.size(largest), largest.dtype))


def maximum(values: tf.Tensor) -> tf.Tensor:
    """Returns the largest absolute value of a tensor, scalar float32 (or float64); 0 if it is empty."""
    return _largest(tf.reshape(values, [-1]), axis=0)


def _largest(values: tf.Tensor, axis: int) -> tf.Tensor:
    # Two reductions take half the time of a copy with absolute values and one reduction.
    found = tf.maximum(tf.reduce_max(values, axis), -tf.reduce_min(values, axis))
    found = found if found.dtype == tf.float64 else tf.cast(found, tf.float32)
    return tf.maximum(found, 0)  # of no values the reductions make -infinity


def _clip(values: tf.Tensor, last: float) -> tf.Tensor:
    return tf.clip_by_value(values, tf.constant(0, values.dtype), tf.constant(last, values.dtype))


@dataclass(frozen=True)
class AnyProduct:
    """A product whose gradients TensorFlow derives.

    Eager execution computes the forward product again for each gradient; graphs and XLA remove it.

    Attributes:
        forward: Maps inputs and kernel to outputs, linear in both.
    """

    forward: LinearFunction

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the inputs."""
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = self.forward(inputs, kernel)
        return tape.gradient(outputs, inputs, output_gradients=upstream)

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the kernel."""
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

    forward: LinearFunction
    strides: tuple[int, int]
    padding: str
    depthwise: bool = False

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the inputs `[batch, height, width, in]`."""
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
        """Computes the gradient of the kernel `[height, width, in, filters or depth multiplier]`."""
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

    forward: LinearFunction

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the inputs `[..., in]`."""
        return tf.matmul(upstream, kernel, transpose_b=True)

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Computes the gradient of the kernel `[in, out]`."""
        rows = tf.reshape(inputs, [-1, kernel.shape[0]])
        return tf.matmul(rows, tf.reshape(upstream, [-1, kernel.shape[1]]), transpose_a=True)
