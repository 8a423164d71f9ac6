"""What every architecture's plan can do."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import keras

from tfprune.recipes.models.blocks import Chain, NetworkOptions, Start
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


class Plan(Protocol):
    """The plan of an architecture: the widths of its layers, and the network itself."""

    @property
    def start(self) -> Start:
        """How the weights begin unless asked otherwise."""
        ...

    @property
    def classifier_like_layers(self) -> bool:
        """Whether the classifier is initialised as the other layers are."""
        ...

    def default_widths(self) -> dict[str, int]:
        """Output channels of every convolution and hidden dense layer, by layer name."""
        ...

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
        ...


def _resnets() -> dict[str, Plan]:
    plans = {f"ResNet-{6 * n + 2}": ResNet((n,) * 3, _SMALL) for n in (3, 5, 7, 9, 18)}
    plans |= {
        "ResNet-18": ResNet((2, 2, 2, 2), _LARGE),
        "ResNet-34": ResNet((3, 4, 6, 3), _LARGE),
        "ResNet-50": ResNet((3, 4, 6, 3), _LARGE, bottleneck=True),
        "ResNet-101": ResNet((3, 4, 23, 3), _LARGE, bottleneck=True),
        "ResNet-152": ResNet((3, 8, 36, 3), _LARGE, bottleneck=True),
    }
    return dict(plans)


def _double_resnets() -> dict[str, Plan]:
    """Those of the random tickets: twice as wide, bottlenecks from depth 54 on."""
    return {
        f"ResNet-{6 * n + 2}x2": ResNet((n,) * 3, _DOUBLE, bottleneck=n >= 9, start=_FAN_OUT) for n in (1, 3, 5, 9, 18)
    }


def _wide_resnets() -> dict[str, Plan]:
    """The pre-activation one; those of the multi-prize tickets are wider behind the first stage or in bottlenecks."""
    plans: dict[str, Plan] = {"WideResNet-28-10": WideResNet((4, 4, 4), (160, 320, 640))}
    for widths, factor in ((_TWO_WIDER, 2), (_THREE_WIDER, 3)):
        plans[f"WideResNet-18-{factor}"] = ResNet((2, 2, 2, 2), widths)
        plans[f"WideResNet-34-{factor}"] = ResNet((3, 4, 6, 3), widths)
    plans["WideResNet-18-2.5"] = ResNet((2, 2, 2, 2), _IN_BETWEEN)
    plans["WideResNet-50-2"] = ResNet((3, 4, 6, 3), _LARGE, bottleneck=True, inner=2)
    plans["WideResNet-101-2"] = ResNet((3, 4, 23, 3), _LARGE, bottleneck=True, inner=2)
    return plans


def _version_2() -> dict[str, Plan]:
    """Those of the multi-prize tickets with a batch norm behind the sum of each block, or on both sides of it."""
    shapes = {
        "ResNet-18": ((2, 2, 2, 2), _LARGE),
        "ResNet-34": ((3, 4, 6, 3), _LARGE),
        "WideResNet-18-2": ((2, 2, 2, 2), _TWO_WIDER),
        "WideResNet-34-2": ((3, 4, 6, 3), _TWO_WIDER),
        "WideResNet-34-3": ((3, 4, 6, 3), _THREE_WIDER),
    }
    plans: dict[str, Plan] = {}
    for name, (blocks, widths) in shapes.items():
        plans[f"{name}-v2"] = ResNet(blocks, widths, norms="after", start=_FAN_OUT)
        plans[f"{name}-v2-twice"] = ResNet(blocks, widths, norms="both", start=_FAN_OUT)
    plans["WideResNet-50-2-v2"] = ResNet(
        (3, 4, 6, 3), _TWO_WIDER, bottleneck=True, inner=2, norms="both", start=_FAN_OUT
    )
    for name, inner in (("ResNet-50-v2", 1), ("WideResNet-50-2-v2-after", 2)):
        plans[name] = ResNet((3, 4, 6, 3), _LARGE, bottleneck=True, inner=inner, norms="after", start=_FAN_OUT)
    return plans


def _vggs() -> dict[str, Plan]:
    """Those of the random tickets (an average at the end), and Peek-a-Boo's (a fifth pooling there)."""
    plans: dict[str, Plan] = {}
    for depth, text in _VGG.items():
        stages = [" ".join(f"conv{width} norm act" for width in stage.split()) for stage in text.split("|")]
        steps = " pool ".join(stages)
        plans[f"VGG-{depth}"] = _vgg(f"{steps} average")
        plans[f"VGG-{depth}-maxpool"] = _vgg(f"{steps} pool average")
    return plans


def _vgg(steps: str) -> Chain:
    return Chain(steps, conv_bias=True, classifier_bias=True, classifier_like_layers=False)


def _conv_nets() -> dict[str, Plan]:
    """Conv networks of two, four, six or eight convolutions and three dense layers."""
    plans: dict[str, Plan] = {}
    for pairs in (1, 2, 3, 4):
        widths = _PAIRS[:pairs]
        binary = _pairs("conv{0} norm act conv{0} pool norm act", widths)
        binary += " flatten hidden256 norm act hidden256 norm act"
        plain = _pairs("conv{0} act conv{0} act pool", widths) + " flatten hidden256 act hidden256 act"
        normed = _pairs("conv{0} norm act conv{0} norm act pool", widths)
        normed += " flatten hidden256 norm act hidden256 norm act"
        plans[f"Conv{2 * pairs}"] = Chain(plain, binary, start=_LIKE_LAYERS)
        plans[f"Conv{2 * pairs}-BN"] = Chain(normed, start=_LIKE_LAYERS)
    mixed = _pairs("conv{0} act conv{0} pool norm relu act", _PAIRS).removesuffix(" act")
    plans["Conv8-mixed"] = Chain(f"{mixed} flatten hidden256 act hidden256 norm relu", start=_LIKE_LAYERS)
    plans["Conv8-last-ReLU"] = Chain(binary.removesuffix("act") + "relu", start=_LIKE_LAYERS)
    return plans


def _small_vggs() -> dict[str, Plan]:
    """VGG-Small of the multi-prize tickets: with few activations or, of binary ones, one for each convolution."""
    widths = (128, 256, 512)
    few = "conv128 act conv128 pool norm conv256 conv256 pool norm conv512 conv512 pool norm act flatten"
    binary = _pairs("conv{0} act conv{0} pool norm act", widths).removesuffix("act") + "relu flatten"
    normed = _pairs("conv{0} norm act conv{0} pool norm act", widths).removesuffix("act") + "relu flatten"
    return {
        "VGG-Small": Chain(few, binary, start=_LIKE_LAYERS),
        "VGG-Small-BN": Chain(normed, start=_LIKE_LAYERS),
    }


def _pairs(text: str, widths: Iterable[int]) -> str:
    """The text for each width in turn."""
    return " ".join(text.format(width) for width in widths)


GROUPS: dict[str, dict[str, Plan]] = {
    "resnet": _resnets(),
    "double_resnet": _double_resnets(),
    "wide_resnet": _wide_resnets(),
    "resnet_v2": _version_2(),
    "vgg": _vggs(),
    "small_vgg": _small_vggs(),
    "conv": _conv_nets(),
    "dense": {"LeNet-300-100": Chain("flatten hidden300 act hidden100 act", start=_LIKE_LAYERS)},
}
PLANS: dict[str, Plan] = {name: plan for group in GROUPS.values() for name, plan in group.items()}
