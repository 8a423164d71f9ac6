"""Masked layers whose kernels get predicted gradients (PSG)."""

from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.masked import MaskedConv2D, MaskedDense, MaskedDepthwiseConv2D, MaskedWeights
from tfprune.ops.psg import AnyProduct, Conv2DProduct, DenseProduct, Product, PSGSettings, psg_product


class PSG(MaskedWeights):
    """Base class of masked layers whose kernel gets a predicted gradient.

    Outputs and input gradients are those of masked layers. The kernel's gradient is computed from inputs and output
    gradients of few bits; see `tfprune.ops.psg.PSGSettings`.

    Args:
        *args: Those of Keras' layer.
        input_bits: Bits of the inputs.
        gradient_bits: Bits of the outputs' gradient.
        relative_threshold: Predicted gradients below this fraction of the largest one are dropped.
        absolute_threshold: Predicted gradients below this value are dropped; instead of `relative_threshold`.
        sparsify: Set dropped gradients to 0. Otherwise the exact gradient replaces them.
        take_sign: Pass on the sign of the result only.
        input_signed: Whether inputs may be negative.
        quantize: Predict gradients. If False, the gradient is the exact one (or its sign).
        **kwargs: Those of Keras' layer.

    Raises:
        ConfigError: A setting is out of range.

    Reference:
        Wang et al., "E2-Train" (NeurIPS 2019); Chen et al., "Peek-a-Boo" (ICLR 2022).
    """

    def __init__(
        self,
        *args: Any,
        input_bits: int = 8,
        gradient_bits: int = 16,
        relative_threshold: float = 0.0,
        absolute_threshold: float | None = None,
        sparsify: bool = False,
        take_sign: bool = True,
        input_signed: bool = False,
        quantize: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settings = PSGSettings(
            input_bits=input_bits,
            gradient_bits=gradient_bits,
            relative_threshold=relative_threshold,
            absolute_threshold=absolute_threshold,
            sparsify=sparsify,
            take_sign=take_sign,
            input_signed=input_signed,
            quantize=quantize,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration of Keras' layer and the settings of the prediction."""
        return {**self.stock_config(), **asdict(self.settings)}

    def _predicting(self, inputs: tf.Tensor, product: Product) -> tf.Tensor:
        """Computes the layer's outputs, whose backward pass predicts the kernel's gradient."""
        return self._finish(psg_product(inputs, self.effective_kernel(), product, self.settings))


@keras.saving.register_keras_serializable(package="tfprune")
class PSGDense(PSG, MaskedDense):
    """`MaskedDense` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for the arguments it adds."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., out]`."""
        return self._predicting(inputs, DenseProduct(keras.ops.matmul))


@keras.saving.register_keras_serializable(package="tfprune")
class PSGConv2D(PSG, MaskedConv2D):
    """`MaskedConv2D` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for the arguments it adds.

    Example:
        >>> layer = PSGConv2D(8, 3, relative_threshold=1e-7, sparsify=True, take_sign=False)
        >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
        TensorShape([1, 6, 6, 8])
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]` (or with channels first)."""
        simple = self.groups == 1 and set(self.dilation_rate) == {1} and self.data_format == "channels_last"
        if simple:
            return self._predicting(inputs, Conv2DProduct(self.convolution_op, self.strides, self.padding.upper()))
        return self._predicting(inputs, AnyProduct(self.convolution_op))


@keras.saving.register_keras_serializable(package="tfprune")
class PSGDepthwiseConv2D(PSG, MaskedDepthwiseConv2D):
    """`MaskedDepthwiseConv2D` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for what it adds."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', in * depth_multiplier]`."""
        equal = self.strides[0] == self.strides[1]
        if equal and set(self.dilation_rate) == {1} and self.data_format == "channels_last":
            product = Conv2DProduct(self._depthwise, self.strides, self.padding.upper(), depthwise=True)
            return self._predicting(inputs, product)
        return self._predicting(inputs, AnyProduct(self._depthwise))
