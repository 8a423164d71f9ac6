"""What the layers with predicted weight gradients share."""

from dataclasses import asdict
from typing import Any

import keras
import tensorflow as tf

from tfprune.layers.masked import MaskedConv2D, MaskedDense, MaskedDepthwiseConv2D, MaskedWeights
from tfprune.ops.psg import AnyProduct, Conv2DProduct, DenseProduct, Product, PSGSettings, psg_product


class PSG(MaskedWeights):
    """Base of masked layers whose kernel gets a predicted gradient.

    Forward, and for the gradient of their inputs, they are masked layers. The kernel's gradient comes from inputs and
    output gradients of few bits; see `tfprune.ops.psg.PSGSettings` for the settings.

    Args:
        *args: Those of the stock Keras layer.
        input_bits: Bits of the inputs.
        gradient_bits: Bits of the outputs' gradient.
        relative_threshold: Predicted gradients below this share of the largest one do not count.
        absolute_threshold: Those below this value do not count; instead of the other.
        sparsify: Gradients that do not count are 0. Otherwise the exact gradient takes their place.
        take_sign: Of the result only the sign is passed on.
        input_signed: Whether inputs may be negative.
        quantize: Predict at all.
        **kwargs: Those of the stock layer.

    Raises:
        ConfigError: A setting has a value that cannot be used.

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
        """The stock layer's settings and those of the prediction."""
        return {**self.stock_config(), **asdict(self.settings)}

    def _predicting(self, inputs: tf.Tensor, product: Product) -> tf.Tensor:
        """The layer's outputs, whose backward pass predicts the kernel's gradient."""
        return self._finish(psg_product(inputs, self.effective_kernel(), product, self.settings))


@keras.saving.register_keras_serializable(package="tfprune")
class PSGDense(PSG, MaskedDense):
    """`MaskedDense` whose kernel gets a predicted gradient; see `tfprune.layers.PSG` for the arguments it adds."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., units]`."""
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
