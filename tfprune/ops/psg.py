"""Predictive sign gradients: weight gradients out of quantised inputs and quantised output gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.ops.quantize import maximum, mean_of_maxima, quantize

_MOST_BITS = 32


class Product(Protocol):
    """What is linear in its inputs and in its kernel: a convolution, a matrix product."""

    def forward(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The outputs."""

    def inputs_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of the inputs, whose shape alone matters, given that of the outputs."""

    def kernel_gradient(self, inputs: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """The gradient of the kernel, whose shape alone matters, given that of the outputs."""


@dataclass(frozen=True, kw_only=True)
class PSGSettings:
    """How the gradient of a kernel is predicted.

    Attributes:
        input_bits: Bits of the inputs, 2 to 32; 32 leaves them as they are.
        gradient_bits: Bits of the outputs' gradient, likewise.
        relative_threshold: Predicted gradients below this share of the largest one do not count, in [0, 1].
        absolute_threshold: Those below this value do not count; instead of the other.
        sparsify: Gradients that do not count are 0. Otherwise the exact gradient takes their place.
        take_sign: Of the result only the sign is passed on.
        input_signed: Whether inputs may be negative. If not, negative ones count as 0.
        quantize: Predict at all. Otherwise the gradient is the exact one (or its sign).

    Raises:
        ConfigError: A value cannot be used, or both thresholds are given.
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
            bits: Any = getattr(self, name)
            if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= _MOST_BITS:
                raise ConfigError(f"{name}: expected a whole number from 2 to 32, received {bits!r}; mend it")
        if not 0 <= self.relative_threshold <= 1:
            raise ConfigError(
                f"relative_threshold: expected a share of the largest gradient, 0 to 1, received "
                f"{self.relative_threshold!r}; give thresholds in absolute terms as absolute_threshold"
            )
        if self.absolute_threshold is None:
            return
        if not 0 <= self.absolute_threshold < float("inf"):
            raise ConfigError(
                f"absolute_threshold: expected a number that is not negative, received {self.absolute_threshold!r}; "
                "give shares of the largest gradient as relative_threshold"
            )
        if self.relative_threshold:
            raise ConfigError(
                f"expected one threshold, received relative_threshold={self.relative_threshold!r} and "
                f"absolute_threshold={self.absolute_threshold!r}; give one of them"
            )

    @property
    def selects(self) -> bool:
        """Whether there may be predicted gradients that do not count."""
        return self.quantize and bool(self.relative_threshold or self.absolute_threshold)


def psg_product(inputs: tf.Tensor, kernel: tf.Tensor, product: Product, settings: PSGSettings) -> tf.Tensor:
    """A product whose kernel gets a predicted gradient; outputs and the inputs' gradient are the exact ones.

    Backward does no forward product, and forms the exact gradient of the kernel only if it is needed: without
    `quantize`, or where predicted gradients may not count and `sparsify` is off.

    Args:
        inputs: `[batch, ...]`.
        kernel: The effective kernel. A mask is to be applied before, so that autodiff applies it to the gradient after
            the threshold was taken over all positions.
        product: The product.
        settings: How to predict.

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
    """The gradient that a kernel gets.

    Args:
        inputs: `[batch, ...]`.
        kernel: The effective kernel.
        upstream: Gradient of the outputs.
        product: The product.
        settings: How to predict.

    Returns:
        Of the kernel's shape.
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
