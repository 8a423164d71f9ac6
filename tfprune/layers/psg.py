"""What the layers with predicted weight gradients share."""

from dataclasses import asdict
from typing import Any

import tensorflow as tf

from tfprune.layers.masked_weights import MaskedWeights
from tfprune.ops.psg import Product, PSGSettings, psg_product


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
