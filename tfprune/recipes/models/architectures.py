"""The architectures by name, in groups.

`ARCHITECTURES` has all of them, `GROUPS` sorts them into families. Each one is an `Architecture`: a `ResNet`, a
`WideResNet` or a `Chain` with its widths. A new variant is one entry here.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import keras

from tfprune.recipes.models.blocks import Chain, ModelOptions, Start
from tfprune.recipes.models.resnet import ResNet, WideResNet

_SMALL = (16, 32, 64)
_DOUBLE = (32, 64, 128)
_LARGE = (64, 128, 256, 512)
_TWO_WIDER = (64, 192, 384, 768)
_THREE_WIDER = (64, 256, 512, 1024)
_IN_BETWEEN = (64, 224, 448, 896)
_FAN_OUT = Start(mode="fan_out")
_LIKE_LAYERS = Start(classifier="kaiming_normal")
_VGG = {
    11: "64 | 128 | 256 256 | 512 512 | 512 512",
    13: "64 64 | 128 128 | 256 256 | 512 512 | 512 512",
    16: "64 64 | 128 128 | 256 256 256 | 512 512 512 | 512 512 512",
    19: "64 64 | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
}
_PAIRS = (64, 128, 256, 512)


class Architecture(Protocol):
    """The interface of an architecture: the widths of its layers, and the model itself."""

    @property
    def start(self) -> Start:
        """Default initial weights."""
        ...

    @property
    def classifier_like_layers(self) -> bool:
        """Whether the classifier is initialized like the other layers."""
        ...

    def default_widths(self) -> dict[str, int]:
        """Returns the output channels of every convolution and hidden dense layer, by layer name."""
        ...

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
        ...


def _resnets() -> dict[str, Architecture]:
    """Returns the ResNets for small images (three stages) and for large ones (four stages)."""
    architectures = {f"ResNet-{6 * n + 2}": ResNet((n,) * 3, _SMALL) for n in (3, 5, 7, 9, 18)}
    architectures |= {
        "ResNet-18": ResNet((2, 2, 2, 2), _LARGE),
        "ResNet-34": ResNet((3, 4, 6, 3), _LARGE),
        "ResNet-50": ResNet((3, 4, 6, 3), _LARGE, bottleneck=True),
        "ResNet-101": ResNet((3, 4, 23, 3), _LARGE, bottleneck=True),
        "ResNet-152": ResNet((3, 8, 36, 3), _LARGE, bottleneck=True),
    }
    return dict(architectures)


def _double_resnets() -> dict[str, Architecture]:
    """Returns the ResNets of the random tickets: twice as wide, with bottlenecks from depth 54 on."""
    return {
        f"ResNet-{6 * n + 2}x2": ResNet((n,) * 3, _DOUBLE, bottleneck=n >= 9, start=_FAN_OUT) for n in (1, 3, 5, 9, 18)
    }


def _wide_resnets() -> dict[str, Architecture]:
    """Returns the pre-activation one, and those of the multi-prize tickets: wider after the first stage or inside."""
    architectures: dict[str, Architecture] = {"WideResNet-28-10": WideResNet((4, 4, 4), (160, 320, 640))}
    for widths, factor in ((_TWO_WIDER, 2), (_THREE_WIDER, 3)):
        architectures[f"WideResNet-18-{factor}"] = ResNet((2, 2, 2, 2), widths)
        architectures[f"WideResNet-34-{factor}"] = ResNet((3, 4, 6, 3), widths)
    architectures["WideResNet-18-2.5"] = ResNet((2, 2, 2, 2), _IN_BETWEEN)
    architectures["WideResNet-50-2"] = ResNet((3, 4, 6, 3), _LARGE, bottleneck=True, inner=2)
    architectures["WideResNet-101-2"] = ResNet((3, 4, 23, 3), _LARGE, bottleneck=True, inner=2)
    return architectures


def _version_2() -> dict[str, Architecture]:
    """Returns the ones of the multi-prize tickets with batch norm after the sum of each block, or on both sides."""
    shapes = {
        "ResNet-18": ((2, 2, 2, 2), _LARGE),
        "ResNet-34": ((3, 4, 6, 3), _LARGE),
        "WideResNet-18-2": ((2, 2, 2, 2), _TWO_WIDER),
        "WideResNet-34-2": ((3, 4, 6, 3), _TWO_WIDER),
        "WideResNet-34-3": ((3, 4, 6, 3), _THREE_WIDER),
    }
    architectures: dict[str, Architecture] = {}
    for name, (blocks, widths) in shapes.items():
        architectures[f"{name}-v2"] = ResNet(blocks, widths, norms="after", start=_FAN_OUT)
        architectures[f"{name}-v2-twice"] = ResNet(blocks, widths, norms="both", start=_FAN_OUT)
    architectures["WideResNet-50-2-v2"] = ResNet(
        (3, 4, 6, 3), _TWO_WIDER, bottleneck=True, inner=2, norms="both", start=_FAN_OUT
    )
    for name, inner in (("ResNet-50-v2", 1), ("WideResNet-50-2-v2-after", 2)):
        architectures[name] = ResNet((3, 4, 6, 3), _LARGE, bottleneck=True, inner=inner, norms="after", start=_FAN_OUT)
    return architectures


def _vggs() -> dict[str, Architecture]:
    """Returns the VGGs of the random tickets (an average at the end) and of Peek-a-Boo (with a fifth pooling)."""
    architectures: dict[str, Architecture] = {}
    for depth, text in _VGG.items():
        stages = [" ".join(f"conv{width} norm act" for width in stage.split()) for stage in text.split("|")]
        steps = " pool ".join(stages)
        architectures[f"VGG-{depth}"] = _vgg(f"{steps} average")
        architectures[f"VGG-{depth}-maxpool"] = _vgg(f"{steps} pool average")
    return architectures


def _vgg(steps: str) -> Chain:
    """Returns a VGG with the given layers."""
    return Chain(steps, conv_bias=True, classifier_bias=True, classifier_like_layers=False)


def _conv_nets() -> dict[str, Architecture]:
    """Returns the Conv models: two, four, six or eight convolutions and three dense layers."""
    architectures: dict[str, Architecture] = {}
    for pairs in (1, 2, 3, 4):
        widths = _PAIRS[:pairs]
        binary = _pairs("conv{0} norm act conv{0} pool norm act", widths)
        binary += " flatten hidden256 norm act hidden256 norm act"
        plain = _pairs("conv{0} act conv{0} act pool", widths) + " flatten hidden256 act hidden256 act"
        normed = _pairs("conv{0} norm act conv{0} norm act pool", widths)
        normed += " flatten hidden256 norm act hidden256 norm act"
        architectures[f"Conv{2 * pairs}"] = Chain(plain, binary, start=_LIKE_LAYERS)
        architectures[f"Conv{2 * pairs}-BN"] = Chain(normed, start=_LIKE_LAYERS)
    mixed = _pairs("conv{0} act conv{0} pool norm relu act", _PAIRS).removesuffix(" act")
    architectures["Conv8-mixed"] = Chain(f"{mixed} flatten hidden256 act hidden256 norm relu", start=_LIKE_LAYERS)
    architectures["Conv8-last-ReLU"] = Chain(binary.removesuffix("act") + "relu", start=_LIKE_LAYERS)
    return architectures


def _small_vggs() -> dict[str, Architecture]:
    """Returns VGG-Small of the multi-prize tickets: with few activations or, if binary, one per convolution."""
    widths = (128, 256, 512)
    few = "conv128 act conv128 pool norm conv256 conv256 pool norm conv512 conv512 pool norm act flatten"
    binary = _pairs("conv{0} act conv{0} pool norm act", widths).removesuffix("act") + "relu flatten"
    normed = _pairs("conv{0} norm act conv{0} pool norm act", widths).removesuffix("act") + "relu flatten"
    return {
        "VGG-Small": Chain(few, binary, start=_LIKE_LAYERS),
        "VGG-Small-BN": Chain(normed, start=_LIKE_LAYERS),
    }


def _pairs(text: str, widths: Iterable[int]) -> str:
    """Repeats a text for each width."""
    return " ".join(text.format(width) for width in widths)


GROUPS: dict[str, dict[str, Architecture]] = {
    "resnet": _resnets(),
    "double_resnet": _double_resnets(),
    "wide_resnet": _wide_resnets(),
    "resnet_v2": _version_2(),
    "vgg": _vggs(),
    "small_vgg": _small_vggs(),
    "conv": _conv_nets(),
    "dense": {"LeNet-300-100": Chain("flatten hidden300 act hidden100 act", start=_LIKE_LAYERS)},
}
ARCHITECTURES: dict[str, Architecture] = {
    name: architecture for group in GROUPS.values() for name, architecture in group.items()
}
