"""Residual networks for small and for large images, as plain Keras functional models."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from tfprune.models.resnet_layers import ResNetLayers


@dataclass(frozen=True)
class ResNet:
    """The plan of a residual network.

    Args:
        blocks: Residual blocks per stage; each stage but the first halves the image.
        widths: Channels per stage (before the expansion).
        bottleneck: Whether a block is 1 x 1, 3 x 3, 1 x 1 with 4 times as many channels at its end, rather than two
            3 x 3 convolutions.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool = False

    @property
    def expansion(self) -> int:
        """Channels at a block's end over its width."""
        return 4 if self.bottleneck else 1

    def has_projection(self, stage: int, block: int) -> bool:
        """Whether a block's shortcut is a convolution: where the unpruned block changes the shape."""
        incoming = self.widths[0] if stage == 0 else self.widths[stage - 1] * self.expansion
        return block == 0 and (stage > 0 or incoming != self.widths[stage] * self.expansion)

    def default_widths(self) -> dict[str, int]:
        """Output channels of every convolution, by layer name, in the order in which the layers are made."""
        widths = {"conv": self.widths[0]}
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                prefix = f"block{stage}.{block}_"
                if self.has_projection(stage, block):
                    widths[prefix + "conv3"] = width * self.expansion
                if self.bottleneck:
                    widths[prefix + "conv0"] = width
                widths[prefix + "conv1"] = width
                widths[prefix + "conv2"] = width * self.expansion
        return widths

    def build(
        self,
        *,
        name: str,
        num_classes: int,
        input_shape: tuple[int, int, int],
        widths: Mapping[str, int],
        seed: int | None,
    ) -> keras.Model:
        """The network; see `build_model`."""
        make = ResNetLayers(widths, seed)
        inputs = keras.Input(tuple(input_shape), name="images")
        if num_classes == 1000:
            x = make.convolution(inputs, "", "", kernel=7, stride=2)
            x = keras.layers.MaxPooling2D(3, 2, padding="same", name="pool")(make.relu(x, "relu"))
        else:
            x = make.relu(make.convolution(inputs, "", "", kernel=3), "relu")
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = self._block(make, x, stage, block)
        x = keras.layers.GlobalAveragePooling2D(name="global_pool")(x)
        return keras.Model(inputs, make.classifier(x, num_classes), name=name)

    def _block(self, make: ResNetLayers, x: keras.KerasTensor, stage: int, block: int) -> keras.KerasTensor:
        prefix = f"block{stage}.{block}_"
        stride = 2 if stage > 0 and block == 0 else 1
        shortcut = x
        if self.has_projection(stage, block):
            shortcut = make.convolution(x, prefix, "3", kernel=1, stride=stride)
        if self.bottleneck:
            x = make.relu(make.convolution(x, prefix, "0", kernel=1), prefix + "relu0")
        x = make.relu(make.convolution(x, prefix, "1", kernel=3, stride=stride), prefix + "relu1")
        x = make.convolution(x, prefix, "2", kernel=1 if self.bottleneck else 3)
        return make.relu(make.add(shortcut, x, prefix + "add"), prefix + "relu2")
