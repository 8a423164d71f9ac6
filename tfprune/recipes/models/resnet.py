"""Residual architectures for small and for large images.

`ResNet` describes basic and bottleneck ResNets with their variants of width and batch norm; `WideResNet` the
pre-activation form of Peek-a-Boo. Both build plain functional Keras models.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import keras

from tfprune.recipes.models.blocks import LayerFactory, ModelOptions, Start

_EKG = Start(init="kaiming_truncated_normal", mode="fan_out", zero_gamma=True)
_START = Start()
_PROJECTION = "conv3"


def projection_names(model: keras.Model) -> tuple[str, ...]:
    """Returns the names of the 1 x 1 convolutions in the shortcuts of a model that this module built."""
    return tuple(layer.name for layer in model.layers if layer.name.endswith(f"_{_PROJECTION}"))


@dataclass(frozen=True)
class ResNet:
    """A residual architecture.

    Args:
        blocks: Residual blocks per stage; each stage but the first halves the image.
        widths: Channels per stage (before the expansion).
        bottleneck: Whether a block consists of 1 x 1, 3 x 3 and 1 x 1 convolutions with 4 times as many channels at
            its end, instead of two 3 x 3 convolutions.
        inner: Factor of the channels within a bottleneck.
        norms: Position of the batch norm of the last convolution of a block: `before` the sum, `after` it, or `both`,
            the same layer twice (a bug of the `v2` models of the multi-prize tickets, whose results depend on it; in a
            bottleneck, two layers).
        start: Default initial weights.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool = False
    inner: int = 1
    norms: Literal["before", "after", "both"] = "before"
    start: Start = _EKG
    classifier_like_layers = False

    @property
    def expansion(self) -> int:
        """Ratio of the channels at the end of a block to its width."""
        return 4 if self.bottleneck else 1

    def has_projection(self, stage: int, block: int) -> bool:
        """Returns whether the shortcut of a block is a convolution: if the unpruned block changes the shape."""
        incoming = self.widths[0] if stage == 0 else self.widths[stage - 1] * self.expansion
        return block == 0 and (stage > 0 or incoming != self.widths[stage] * self.expansion)

    def default_widths(self) -> dict[str, int]:
        """Returns the output channels of every convolution, by layer name, in the order of construction."""
        widths = {"conv": self.widths[0]}
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True)):
            for block in range(blocks):
                prefix = f"block{stage}.{block}_"
                inner = width * self.inner
                if self.has_projection(stage, block):
                    widths[prefix + _PROJECTION] = width * self.expansion
                if self.bottleneck:
                    widths[prefix + "conv0"] = inner
                widths[prefix + "conv1"] = inner
                widths[prefix + "conv2"] = width * self.expansion
        return widths

    def build(
        self,
        *,
        name: str,
        num_classes: int,
        input_shape: tuple[int, int, int],
        widths: Mapping[str, int],
        options: ModelOptions,
    ) -> keras.Model:
        """Builds the model, see `build_model`."""
        make = LayerFactory(widths, options)
        inputs = keras.Input(tuple(input_shape), name="images")
        large = num_classes == 1000 if options.stem == "auto" else options.stem == "large"
        x = self._stem(make, inputs, large, rectified=options.activation is None)
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = self._block(make, x, stage, block)
        return keras.Model(inputs, make.pooled_classifier(x, num_classes), name=name)

    def _stem(self, make: LayerFactory, x: keras.KerasTensor, large: bool, *, rectified: bool) -> keras.KerasTensor:
        """Adds the layers before the first block; `rectified` says whether activations are ReLUs."""
        if not large:
            return make.activation(make.batch_norm(make.convolution(x, "conv", kernel=3), "bn"), "relu")
        x = make.convolution(x, "conv", kernel=7, stride=2)
        if self.norms != "before":
            return make.activation(make.batch_norm(make.stem_pool(x, signed=True), "bn"), "relu")
        x = make.batch_norm(x, "bn")
        if rectified:  # ReLU before and after the pooling give the same; its outputs may be padded with zeros
            return make.stem_pool(make.relu(x, "relu"), signed=False)
        return make.activation(make.stem_pool(x, signed=True), "relu")

    def _block(self, make: LayerFactory, x: keras.KerasTensor, stage: int, block: int) -> keras.KerasTensor:
        """Adds a residual block."""
        prefix = f"block{stage}.{block}_"
        stride = 2 if stage > 0 and block == 0 else 1

        def normed(x: keras.KerasTensor, number: int, kernel: int, stride: int = 1) -> keras.KerasTensor:
            x = make.convolution(x, f"{prefix}conv{number}", kernel=kernel, stride=stride)
            return make.batch_norm(x, f"{prefix}bn{number}", ends_branch=number == 2)

        shortcut = x
        if self.has_projection(stage, block):
            shortcut = normed(x, 3, 1, stride)
        if self.bottleneck:
            x = make.activation(normed(x, 0, 1), prefix + "relu0")
        x = make.activation(normed(x, 1, 3, stride), prefix + "relu1")
        x = self._end(make, x, shortcut, prefix)
        return make.activation(x, prefix + "relu2")

    def _end(
        self, make: LayerFactory, x: keras.KerasTensor, shortcut: keras.KerasTensor, prefix: str
    ) -> keras.KerasTensor:
        """Adds the last convolution of a branch, its batch norms and the sum."""
        x = make.convolution(x, f"{prefix}conv2", kernel=1 if self.bottleneck else 3)
        if self.norms == "before":
            return make.add(shortcut, make.batch_norm(x, f"{prefix}bn2", ends_branch=True), prefix + "add")
        if self.norms == "after":
            return make.batch_norm(make.add(shortcut, x, prefix + "add"), f"{prefix}bn2")
        norm = make.norm_layer(f"{prefix}bn2")
        x = make.add(shortcut, norm(x), prefix + "add")
        return make.batch_norm(x, f"{prefix}bn4") if self.bottleneck else norm(x)


@dataclass(frozen=True)
class WideResNet:
    """A pre-activation architecture, as in the code of Peek-a-Boo.

    The second convolution of a block has the stride, its projection reads the input of the block without batch norm,
    and the momentum of the last batch norm is 0.1 (of the others 0.9). There is no dropout.

    Args:
        blocks: Residual blocks per stage; each stage but the first halves the image.
        widths: Channels per stage.
        stem: Channels of the first convolution.
        start: Default initial weights.

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
        """Returns whether the shortcut of a block is a convolution: if the unpruned block changes the shape."""
        incoming = self.stem if stage == 0 else self.widths[stage - 1]
        return block == 0 and (stage > 0 or incoming != self.widths[stage])

    def default_widths(self) -> dict[str, int]:
        """Returns the output channels of every convolution, by layer name, in the order of construction."""
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
        options: ModelOptions,
    ) -> keras.Model:
        """Builds the model, see `build_model`."""
        make = LayerFactory(widths, options)
        inputs = keras.Input(tuple(input_shape), name="images")
        x = make.convolution(inputs, "conv", kernel=3)
        for stage, blocks in enumerate(self.blocks):
            for block in range(blocks):
                x = self._block(make, x, stage, block)
        x = make.activation(make.batch_norm(x, "bn", momentum=0.1), "relu")
        return keras.Model(inputs, make.pooled_classifier(x, num_classes), name=name)

    def _block(self, make: LayerFactory, x: keras.KerasTensor, stage: int, block: int) -> keras.KerasTensor:
        """Adds a residual block."""
        prefix = f"block{stage}.{block}_"
        stride = 2 if stage > 0 and block == 0 else 1
        shortcut = x
        if self.has_projection(stage, block):
            shortcut = make.convolution(x, prefix + _PROJECTION, kernel=1, stride=stride)
        x = make.activation(make.batch_norm(x, prefix + "bn1"), prefix + "relu1")
        x = make.convolution(x, prefix + "conv1", kernel=3)
        x = make.activation(make.batch_norm(x, prefix + "bn2"), prefix + "relu2")
        x = make.convolution(x, prefix + "conv2", kernel=3, stride=stride)
        return make.add(shortcut, x, prefix + "add")
