"""Wide residual networks with batch norm and activation before each convolution, as plain Keras functional models."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from tfprune.models.network_layers import NetworkLayers
from tfprune.models.network_options import NetworkOptions, Start

_START = Start()


@dataclass(frozen=True)
class WideResNet:
    """The plan of a pre-activation network.

    The form is Peek-a-Boo's: a block strides in its second convolution, its projection reads the block's input as it
    is, and the last batch norm follows the batches closely (momentum 0.1, the others 0.9). There is no dropout.

    Args:
        blocks: Residual blocks per stage; each stage but the first halves the image.
        widths: Channels per stage.
        stem: Channels of the first convolution.
        start: How the weights begin unless asked otherwise.

    Reference:
        Zagoruyko & Komodakis, Wide Residual Networks (BMVC 2016); Chen et al., Peek-a-Boo (ICLR 2022), the authors'
        code.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    stem: int = 16
    start: Start = _START
    classifier_like_layers = False

    def has_projection(self, stage: int, block: int) -> bool:
        """Whether a block's shortcut is a convolution: where the unpruned block changes the shape."""
        incoming = self.stem if stage == 0 else self.widths[stage - 1]
        return block == 0 and (stage > 0 or incoming != self.widths[stage])

    def default_widths(self) -> dict[str, int]:
        """Output channels of every convolution, by layer name, in the order in which the layers are made."""
        widths = {"conv": self.stem}
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                prefix = f"block{stage}.{block}_"
                numbers = ("3", "1", "2") if self.has_projection(stage, block) else ("1", "2")
                widths |= {f"{prefix}conv{number}": width for number in numbers}
        return widths

    def build(
        self,
        *,
        name: str,
        num_classes: int,
        input_shape: tuple[int, int, int],
        widths: Mapping[str, int],
        options: NetworkOptions,
    ) -> keras.Model:
        """The network; see `build_model`."""
        make = NetworkLayers(widths, options)
        inputs = keras.Input(tuple(input_shape), name="images")
        x = make.convolution(inputs, "conv", kernel=3)
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = self._block(make, x, stage, block)
        x = make.activation(make.batch_norm(x, "bn", momentum=0.1), "relu")
        return keras.Model(inputs, make.pooled_classifier(x, num_classes), name=name)

    def _block(self, make: NetworkLayers, x: keras.KerasTensor, stage: int, block: int) -> keras.KerasTensor:
        prefix = f"block{stage}.{block}_"
        stride = 2 if stage > 0 and block == 0 else 1
        shortcut = x
        if self.has_projection(stage, block):
            shortcut = make.convolution(x, prefix + "conv3", kernel=1, stride=stride)
        x = make.activation(make.batch_norm(x, prefix + "bn1"), prefix + "relu1")
        x = make.convolution(x, prefix + "conv1", kernel=3)
        x = make.activation(make.batch_norm(x, prefix + "bn2"), prefix + "relu2")
        x = make.convolution(x, prefix + "conv2", kernel=3, stride=stride)
        return make.add(shortcut, x, prefix + "add")
