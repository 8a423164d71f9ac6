"""Networks by name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import keras

from tfprune.errors import ConfigError
from tfprune.recipes.models.blocks import BatchNorm, NetworkOptions, Padding, Start, Stem
from tfprune.recipes.models.plans import GROUPS, PLANS, Plan

Activation = Literal["relu", "binary"] | Callable[[str], keras.layers.Layer]


def model_names(group: str | None = None) -> tuple[str, ...]:
    """The architectures that `build_model` knows.

    Args:
        group: Only those of one family: `resnet`, ...; `None` for all.

    Returns:
        Their names.

    Raises:
        ConfigError: There is no such family.
    """
    if group is None:
        return tuple(PLANS)
    if group not in GROUPS:
        raise ConfigError(f"expected a family of {', '.join(GROUPS)}, received {group!r}; use one of these")
    return tuple(GROUPS[group])


def model_plan(arch: str) -> Plan:
    """The plan of an architecture.

    Args:
        arch: One of `model_names()`.

    Returns:
        Its plan.

    Raises:
        ConfigError: The name is unknown.
    """
    if arch not in PLANS:
        raise ConfigError(f"expected an architecture of {', '.join(PLANS)}, received {arch!r}; use one of these")
    return PLANS[arch]


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
    """A plain Keras functional model that gives logits.

    ResNet-20, -32, -56 and -110 are those for small images (three stages of 16, 32 and 64 channels), ResNet-18, -34,
    -50, -101 and -152 those for large ones (four stages of 64 to 512). With 1000 classes a residual network begins
    with a 7 x 7 convolution of stride 2 and a pooling, otherwise with a 3 x 3 convolution. `docs/models.md` lists all
    architectures.

    Layers of a residual network are named `conv`, `bn`, `block{stage}.{block}_conv1` ..., `_bn1` ..., `fc`; `conv3`,
    `bn3` are the projection of a shortcut, and `conv0`, `bn0` the first convolution of a bottleneck. Those of a chain
    of convolutions are named `stage{i}.{j}_conv`, `_bn`, `_relu`, `stage{i}_pool`, `hidden{i}`, `fc`.

    Args:
        arch: One of `model_names()`.
        num_classes: Number of logits.
        input_shape: `(height, width, channels)` of an image.
        widths: Output channels of convolutions by layer name, where they differ from the unpruned network's.
        seed: Seed of the initial weights; `None` for weights that differ every time.
        init: Initial weights of all kernels but the classifier's, a name of `initializer`; `None` for the
            architecture's own. With a name, biases begin uniform in ±1/√fan_in and every batch norm as the identity.
        mode: Fan of `init`, `fan_in` or `fan_out`; `None` for `fan_in`, or the architecture's own.
        gain: Its gain.
        fan_scale: Its factor of the fan.
        classifier_init: Initial weights of the classifier's kernel; `None` for the architecture's own without `init`,
            and `standard` with it (`init` itself in the `Conv` networks, where it is a layer like the others).
        zero_gamma: Whether the last batch norm of a residual branch begins with 0; `None` for the architecture's own.
            No gradient reaches such a branch at first, so criteria that look at gradients must not begin there.
        padding: How strided convolutions larger than 1 x 1 are padded: `same` is TensorFlow's way (for an even image
            of nothing on the upper left), `symmetric` PyTorch's (equal on all sides).
        batch_norm: `affine`, `fixed` (no gamma and beta) or `none`.
        conv_bias: Whether convolutions have a bias; `None` for the architecture's own.
        classifier_bias: Whether the classifier has one; `None` for the architecture's own.
        activation: `relu`, `binary` (`tfprune.layers.BinaryActivation`; networks of the multi-prize tickets pool and
            normalise in another order then), or what makes the layer in the rectifiers' place from a name.
        stem: `small` or `large` instead of the number of classes deciding it.
        final_pool: Average over patches of this size rather than over the whole map, which gives `num_classes` times
            as many logits as there are patches, those of a class side by side (a slip of the multi-prize tickets'
            small ResNets, whose numbers depend on it).
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
    plan = model_plan(arch)
    options = NetworkOptions(
        padding=padding,
        batch_norm=batch_norm,
        conv_bias=conv_bias,
        classifier_bias=classifier_bias,
        activation=_activation(activation),
        stem=stem,
        final_pool=final_pool,
        start=_start(plan, init, classifier_init, mode=mode, gain=gain, fan_scale=fan_scale, zero_gamma=zero_gamma),
        seed=seed,
    )
    return plan.build(
        name=arch,
        num_classes=num_classes,
        input_shape=input_shape,
        widths=_widths(arch, plan, width_multiplier) | _given_widths(arch, plan, widths or {}),
        options=options,
    )


def recognised(layer_names: set[str]) -> str | None:
    """The first architecture whose convolutions and hidden layers are exactly the ones among these layers.

    Args:
        layer_names: Names of all layers, in the style of `build_model`.

    Returns:
        Its name, or `None`.
    """
    sized = sized_layers(layer_names)
    return next((arch for arch, plan in PLANS.items() if set(plan.default_widths()) == sized), None)


def sized_layers(layer_names: set[str]) -> set[str]:
    """Those of the layers that an architecture gives a width: convolutions and hidden dense layers."""
    return {name for name in layer_names if name.rpartition("_")[2].rstrip("0123456789") in ("conv", "hidden")}


def _start(plan: Plan, init: str | None, classifier_init: str | None, **fan: Any) -> Start:
    """How the weights begin: the plan's way, or the named one."""
    fan = {key: value for key, value in fan.items() if value is not None}
    if init is None:
        start = replace(plan.start, **fan)
    else:
        start = Start(
            init=init, classifier=init if plan.classifier_like_layers else "standard", biases="standard", **fan
        )
    return start if classifier_init is None else replace(start, classifier=classifier_init)


def _activation(activation: Activation) -> Callable[[str], keras.layers.Layer] | None:
    """What makes activations, `None` for rectifiers."""
    if activation == "relu":
        return None
    if activation == "binary":
        from tfprune.layers import BinaryActivation

        return lambda name: BinaryActivation(name=name)
    if callable(activation):
        return activation
    raise ConfigError(f"expected activation relu, binary or a function of a name, received {activation!r}; use one")


def _widths(arch: str, plan: Plan, multiplier: float) -> dict[str, int]:
    """The plan's widths times the multiplier."""
    if not multiplier > 0:
        raise ConfigError(f"expected a width_multiplier above 0, received {multiplier}; raise it")
    widths = {name: int(width * multiplier) for name, width in plan.default_widths().items()}
    for name, width in widths.items():
        if width < 1:
            raise ConfigError(f"expected widths of 1 or more, {name} of {arch} has {width} at {multiplier}; raise it")
    return widths


def _given_widths(arch: str, plan: Plan, given: Mapping[str, int]) -> dict[str, int]:
    """The widths asked for, checked."""
    unknown = sorted(set(given) - set(plan.default_widths()))
    if unknown:
        raise ConfigError(f"expected widths of convolutions of {arch}, received {unknown[0]!r}, which it has not")
    for name, width in given.items():
        if width < 1:
            raise ConfigError(f"expected a width of 1 or more for {name}, received {width}; keep at least one channel")
    return dict(given)
