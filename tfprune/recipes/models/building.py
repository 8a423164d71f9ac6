"""Models by name.

`build_model` builds an architecture of `model_names()` with the chosen options. `recognize_architecture` finds the name
from the layers of a checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import keras

from tfprune.arguments import instance, number, optional, truth, whole_number
from tfprune.errors import ConfigError, first_line, suggestion
from tfprune.recipes.models.architectures import ARCHITECTURES, GROUPS, Architecture
from tfprune.recipes.models.blocks import BatchNorm, ModelOptions, Padding, Start, Stem
from tfprune.reprs import described, short
from tfprune.tables import listed

_MOST_CLASSES = 1_000_000
_LARGEST_SIZE = 16_384  # of an image
_MOST_CHANNELS = 65_536
_WIDEST = 64

Activation = Literal["relu", "binary"] | Callable[[str], keras.layers.Layer]


def model_names(group: str | None = None) -> tuple[str, ...]:
    """Returns the names of the architectures that `build_model` builds.

    Args:
        group: A family, such as `resnet`; `None` for all.

    Returns:
        Their names.

    Raises:
        ConfigError: There is no such family.
    """
    if group is None:
        return tuple(ARCHITECTURES)
    if not isinstance(group, str) or group not in GROUPS:
        raise ConfigError(f"expected a family of {', '.join(GROUPS)}, received {short(group)}; use one of these")
    return tuple(GROUPS[group])


def find_architecture(arch: str) -> Architecture:
    """Returns the architecture of a name.

    Args:
        arch: One of `model_names()`.

    Returns:
        The architecture.

    Raises:
        ConfigError: The name is unknown.
    """
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise ConfigError(
            f"expected an architecture such as {listed(list(ARCHITECTURES))}, all of `tfprune.models.model_names()`, "
            f"received {short(arch)}{suggestion(str(arch), ARCHITECTURES)}"
        )
    return ARCHITECTURES[arch]


def build_model(
    arch: str,
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    widths: Mapping[str, int] | None = None,
    seed: int | None = None,
    init: str | None = None,
    mode: str | None = None,
    gain: float | None = None,
    fan_scale: float = 1.0,
    classifier_init: str | None = None,
    zero_gamma: bool | None = None,
    padding: Padding = "same",
    batch_norm: BatchNorm = "affine",
    conv_bias: bool | None = None,
    classifier_bias: bool | None = None,
    activation: Activation = "relu",
    stem: Stem = "auto",
    final_pool: int | None = None,
    width_multiplier: float = 1.0,
) -> keras.Model:
    """Builds a plain functional Keras model that returns logits.

    ResNet-20, -32, -56 and -110 are for small images (three stages of 16, 32 and 64 channels), ResNet-18, -34, -50,
    -101 and -152 for large ones (four stages of 64 to 512). With 1000 classes a residual model starts with a 7 x 7
    convolution of stride 2 and a pooling, otherwise with a 3 x 3 convolution. `docs/models.md` lists all architectures.

    Layers of a residual model are named `conv`, `bn`, `block{stage}.{block}_conv1` ..., `_bn1` ..., `fc`; `conv3`,
    `bn3` are the projection of a shortcut, and `conv0`, `bn0` the first convolution of a bottleneck. Layers of a chain
    of convolutions are named `stage{i}.{j}_conv`, `_bn`, `_relu`, `stage{i}_pool`, `hidden{i}`, `fc`.

    Args:
        arch: One of `model_names()`.
        num_classes: Number of logits.
        input_shape: `(height, width, channels)` of an image.
        widths: Output channels of convolutions by layer name, if they differ from those of the unpruned model.
        seed: Seed of the initial weights; `None` for other weights every time.
        init: Initial weights of all kernels except that of the classifier, a name of `initializer`; `None` for those of
            the architecture. With a name, biases are uniform in ±1/√fan_in and every batch norm is the identity.
        mode: Fan of `init`, `fan_in` or `fan_out`; `None` for that of the architecture, or `fan_in`.
        gain: Gain of `init`.
        fan_scale: Factor of the fan.
        classifier_init: Initial weights of the kernel of the classifier; `None` for those of the architecture without
            `init`, and for `standard` with it (for `init` in the `Conv` models, where it is a layer like the others).
        zero_gamma: Whether gamma of the last batch norm of a residual branch starts at 0; `None` for the default of the
            architecture. At 0 no gradient reaches the branch, so criteria that use gradients must not start there.
        padding: Padding of strided convolutions larger than 1 x 1: `same` as in TensorFlow (for even sizes none at the
            upper left), `symmetric` as in PyTorch (equal on all sides).
        batch_norm: `affine`, `fixed` (no gamma and beta) or `none`.
        conv_bias: Whether convolutions have a bias; `None` for the default of the architecture.
        classifier_bias: Whether the classifier has a bias; `None` for the default of the architecture.
        activation: `relu`, `binary` (`tfprune.layers.BinaryActivation`; models of the multi-prize tickets then pool and
            normalize in another order), or a function from a name to the activation layer.
        stem: First layers, `small` or `large`; with `auto` the number of classes decides.
        final_pool: Size of patches to average over instead of the whole feature map, which gives `num_classes` times
            the number of patches as logits, those of a class side by side (a bug of the small ResNets of the
            multi-prize tickets, whose results depend on it).
        width_multiplier: Factor of all widths, which are rounded down.

    Returns:
        The model: `[batch, height, width, channels]` to `[batch, num_classes]`.

    Raises:
        ConfigError: The architecture, a layer or an option is unknown, or widths do not fit together.

    Example:
        >>> build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)).count_params()
        860026

    Reference:
        He et al., Deep Residual Learning (CVPR 2016); layer order and initial weights of Lee & Song, EKG (ECCV 2022).
    """
    architecture = find_architecture(arch)
    num_classes = whole_number("num_classes", num_classes, at_most=_MOST_CLASSES)
    input_shape = _input_shape(input_shape)
    options = ModelOptions(
        padding=padding,
        batch_norm=batch_norm,
        conv_bias=conv_bias,
        classifier_bias=classifier_bias,
        activation=_activation(activation),
        stem=stem,
        final_pool=final_pool,
        start=_start(
            architecture, init, classifier_init, mode=mode, gain=gain, fan_scale=fan_scale, zero_gamma=zero_gamma
        ),
        seed=seed,
    )
    return architecture.build(
        name=arch,
        num_classes=num_classes,
        input_shape=input_shape,
        widths=_widths(arch, architecture, width_multiplier) | _given_widths(arch, architecture, widths),
        options=options,
    )


def recognize_architecture(layer_names: set[str]) -> str | None:
    """Returns the first architecture with exactly the convolutions and hidden layers among these layers.

    Args:
        layer_names: Names of all layers, in the style of `build_model`.

    Returns:
        Its name, or `None`.
    """
    sized = sized_layers(layer_names)
    return next(
        (arch for arch, architecture in ARCHITECTURES.items() if set(architecture.default_widths()) == sized), None
    )


def sized_layers(layer_names: set[str]) -> set[str]:
    """Returns the layers that have a width in an architecture: convolutions and hidden dense layers.

    Args:
        layer_names: Names of all layers, in the style of `build_model`.
    """
    return {name for name in layer_names if name.rpartition("_")[2].rstrip("0123456789") in ("conv", "hidden")}


def _start(architecture: Architecture, init: str | None, classifier_init: str | None, **fan: Any) -> Start:
    """Returns the initial weights: those of the architecture, or the named ones."""
    optional(truth, "zero_gamma", fan["zero_gamma"])
    fan = {key: value for key, value in fan.items() if value is not None}
    if init is None:
        start = replace(architecture.start, **fan)
    else:
        start = Start(
            init=init, classifier=init if architecture.classifier_like_layers else "standard", biases="standard", **fan
        )
    return start if classifier_init is None else replace(start, classifier=classifier_init)


def _activation(activation: Activation) -> Callable[[str], keras.layers.Layer] | None:
    """Returns the function that makes activation layers, `None` for ReLU."""
    if isinstance(activation, str) and activation == "relu":
        return None
    if isinstance(activation, str) and activation == "binary":
        from tfprune.layers import BinaryActivation

        return lambda name: BinaryActivation(name=name)
    if callable(activation):
        return lambda name: _activation_layer(activation, name)
    raise ConfigError(
        f"expected activation relu, binary or a function of a name, received {described(activation)}; use one"
    )


def _activation_layer(make: Callable[[str], keras.layers.Layer], name: str) -> keras.layers.Layer:
    """Returns the layer that a user's function makes; raises `ConfigError` if it makes none."""
    try:
        layer = make(name)
    except Exception as error:  # a function of a user raises anything
        raise ConfigError(f"activation: the function cannot make a layer {name}: {first_line(error)}") from error
    return instance("activation", layer, keras.Layer, "a function that returns a layer")


def _input_shape(given: Any) -> tuple[int, int, int]:
    """Returns `(height, width, channels)`; raises `ConfigError` unless they are whole numbers within limits."""
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or len(given) != 3:
        raise ConfigError(f"input_shape: expected (height, width, channels), received {described(given)}")
    height, width, channels = (whole_number("input_shape", size, at_most=_LARGEST_SIZE) for size in given)
    return height, width, channels


def _widths(arch: str, architecture: Architecture, multiplier: float) -> dict[str, int]:
    """Returns the widths of the architecture times the multiplier."""
    multiplier = number("width_multiplier", multiplier, above=0, at_most=_WIDEST)
    widths = {name: int(width * multiplier) for name, width in architecture.default_widths().items()}
    for name, width in widths.items():
        if width < 1:
            raise ConfigError(f"expected widths of 1 or more, {name} of {arch} has {width} at {multiplier}; raise it")
    return widths


def _given_widths(arch: str, architecture: Architecture, given: Any) -> dict[str, int]:
    """Returns the requested widths after checking them."""
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise ConfigError(f"widths: expected channels by the names of layers, received {described(given)}")
    given = given or {}
    unknown = sorted(set(given) - set(architecture.default_widths()))
    if unknown:
        raise ConfigError(f"expected widths of convolutions of {arch}, received {unknown[0]!r}, which it does not have")
    return {name: whole_number(f"width of {name}", width, at_most=_MOST_CHANNELS) for name, width in given.items()}
