"""Networks by name."""

from collections.abc import Mapping

import keras

from tfprune.errors import ConfigError
from tfprune.models.resnet import ResNet

_SMALL = (16, 32, 64)
_LARGE = (64, 128, 256, 512)

_MODELS = {
    "ResNet-20": ResNet((3, 3, 3), _SMALL),
    "ResNet-32": ResNet((5, 5, 5), _SMALL),
    "ResNet-56": ResNet((9, 9, 9), _SMALL),
    "ResNet-110": ResNet((18, 18, 18), _SMALL),
    "ResNet-18": ResNet((2, 2, 2, 2), _LARGE),
    "ResNet-34": ResNet((3, 4, 6, 3), _LARGE),
    "ResNet-50": ResNet((3, 4, 6, 3), _LARGE, bottleneck=True),
}


def model_names() -> tuple[str, ...]:
    """The architectures that `build_model` knows."""
    return tuple(_MODELS)


def model_plan(arch: str) -> ResNet:
    """The plan of an architecture.

    Args:
        arch: One of `model_names()`.

    Returns:
        Its plan.

    Raises:
        ConfigError: The name is unknown.
    """
    if arch not in _MODELS:
        raise ConfigError(f"expected an architecture of {', '.join(_MODELS)}, received {arch!r}; use one of these")
    return _MODELS[arch]


def build_model(
    arch: str,
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    widths: Mapping[str, int] | None = None,
    seed: int | None = None,
) -> keras.Model:
    """A plain Keras functional model that gives logits.

    ResNet-20, -32, -56 and -110 are those for small images (three stages of 16, 32 and 64 channels), ResNet-18, -34
    and -50 those for large ones (four stages of 64 to 512). With 1000 classes the network begins with a 7 x 7
    convolution of stride 2 and a pooling, otherwise with a 3 x 3 convolution.

    Layers are named `conv`, `bn`, `block{stage}.{block}_conv1` ..., `_bn1` ..., `fc`; `conv3`, `bn3` are the
    projection of a shortcut, and `conv0`, `bn0` the first convolution of a bottleneck.

    Args:
        arch: One of `model_names()`.
        num_classes: Number of logits.
        input_shape: `(height, width, channels)` of an image.
        widths: Output channels of convolutions by layer name, where they differ from the unpruned network's.
        seed: Seed of the initial weights; `None` for weights that differ every time.

    Returns:
        The model: `[batch, height, width, channels]` to `[batch, num_classes]`.

    Raises:
        ConfigError: The architecture or a layer is unknown, or widths do not fit together.

    Example:
        >>> build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)).count_params()
        860026

    Reference:
        He et al., Deep Residual Learning (CVPR 2016); layer order and initial weights of Lee & Song, EKG (ECCV 2022).
    """
    plan = model_plan(arch)
    defaults = plan.default_widths()
    given = dict(widths or {})
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ConfigError(f"expected widths of convolutions of {arch}, received {unknown[0]!r}, which it has not")
    for name, width in given.items():
        if width < 1:
            raise ConfigError(f"expected a width of 1 or more for {name}, received {width}; keep at least one channel")
    return plan.build(name=arch, num_classes=num_classes, input_shape=input_shape, widths=defaults | given, seed=seed)


def recognised(layer_names: set[str]) -> str | None:
    """The architecture whose convolutions are exactly the ones among these layers.

    Args:
        layer_names: Names of all layers, in the style of `build_model`.

    Returns:
        Its name, or `None`.
    """
    convolutions = {name for name in layer_names if name.rpartition("_")[2].startswith("conv")}
    for arch, plan in _MODELS.items():
        if set(plan.default_widths()) == convolutions:
            return arch
    return None
