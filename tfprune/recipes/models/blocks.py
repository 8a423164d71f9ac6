"""Layers of the architectures, and the options of a model.

`ModelOptions` are the choices that every architecture offers, `Start` its initial weights. A `LayerFactory` makes
Keras layers with these choices. A `Chain` describes an architecture whose layers follow one another.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import keras

from tfprune.arguments import optional, seed_number, truth, whole_number
from tfprune.errors import ConfigError, check_choice
from tfprune.graph.subnet import layer_seed
from tfprune.recipes.models.initializers import initializer

Padding = Literal["same", "symmetric"]
BatchNorm = Literal["affine", "fixed", "none"]
Stem = Literal["auto", "small", "large"]
_STEP = re.compile(r"(conv|hidden)(\d+)|norm|act|relu|pool|average|flatten")


@dataclass(frozen=True)
class Start:
    """The initial weights of a model.

    Attributes:
        init: Initial weights of kernels, a name of `initializer`.
        mode: Fan of `init`.
        gain: Gain of `init`.
        fan_scale: Factor of the fan.
        classifier: Initial weights of the kernel of the classifier, a name of `initializer`.
        biases: `zeros`, or `standard`: uniform in ±1/√fan_in, as in PyTorch.
        zero_gamma: Whether gamma of the last batch norm of a residual branch starts at 0.
    """

    init: str = "kaiming_normal"
    mode: str = "fan_in"
    gain: float | None = None
    fan_scale: float = 1.0
    classifier: str = "small_normal"
    biases: Literal["zeros", "standard"] = "zeros"
    zero_gamma: bool = False


@dataclass(frozen=True)
class ModelOptions:
    """Choices about a model besides its architecture, see `build_model`.

    Raises:
        ConfigError: There is no such choice.
    """

    padding: Padding = "same"
    batch_norm: BatchNorm = "affine"
    conv_bias: bool | None = None
    classifier_bias: bool | None = None
    activation: Callable[[str], keras.layers.Layer] | None = None
    stem: Stem = "auto"
    final_pool: int | None = None
    start: Start = field(default_factory=Start)
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, choices in (("padding", Padding), ("batch_norm", BatchNorm), ("stem", Stem)):
            check_choice(name, getattr(self, name), choices)
        optional(truth, "conv_bias", self.conv_bias)
        optional(truth, "classifier_bias", self.classifier_bias)
        optional(whole_number, "final_pool", self.final_pool)
        if self.seed is not None:
            seed_number(self.seed)


class LayerFactory:
    """Makes and calls the layers of one model, all of them built-in Keras layers.

    Each layer has its own initializer, whose seed follows from the seed of the model and the name of the layer: a
    shared one would give all convolutions of one shape the same weights.

    Args:
        widths: Output channels of each convolution and hidden dense layer, by layer name.
        options: Choices about the model.
        conv_bias: Whether convolutions have a bias, unless `options` decide it.
        classifier_bias: Whether the classifier has a bias, unless `options` decide it.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        options: ModelOptions,
        *,
        conv_bias: bool = False,
        classifier_bias: bool = True,
    ) -> None:
        self._widths = widths
        self._options = options
        self._start = options.start
        self._conv_bias = conv_bias if options.conv_bias is None else options.conv_bias
        self._classifier_bias = classifier_bias if options.classifier_bias is None else options.classifier_bias

    def convolution(self, x: keras.KerasTensor, name: str, *, kernel: int, stride: int = 1) -> keras.KerasTensor:
        """Adds a convolution, padded so that stride 1 keeps the size."""
        padding = "same"
        if stride > 1 and kernel > 1 and self._options.padding == "symmetric":
            x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
            padding = "valid"
        return keras.layers.Conv2D(
            self._widths[name],
            kernel,
            stride,
            padding=padding,
            use_bias=self._conv_bias,
            kernel_initializer=self._kernel(name, self._start.init),
            bias_initializer=self._bias(name, kernel * kernel * x.shape[-1]),
            name=name,
        )(x)

    def dense(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Adds a hidden dense layer without bias."""
        start = self._kernel(name, self._start.init)
        return keras.layers.Dense(self._widths[name], use_bias=False, kernel_initializer=start, name=name)(x)

    def batch_norm(
        self, x: keras.KerasTensor, name: str, *, ends_branch: bool = False, momentum: float = 0.9
    ) -> keras.KerasTensor:
        """Adds a batch norm, unless the model has none."""
        return self.norm_layer(name, ends_branch=ends_branch, momentum=momentum)(x)

    def norm_layer(
        self, name: str, *, ends_branch: bool = False, momentum: float = 0.9
    ) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
        """Returns a batch norm that may be called several times; the identity if the model has none."""
        if self._options.batch_norm == "none":
            return lambda x: x
        affine = self._options.batch_norm == "affine"
        return keras.layers.BatchNormalization(
            momentum=momentum,
            epsilon=1e-5,
            center=affine,
            scale=affine,
            gamma_initializer="zeros" if ends_branch and self._start.zero_gamma else "ones",
            name=name,
        )

    def activation(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Adds the activation of the model: a ReLU named `...relu`, or another one, named `...act`."""
        make = self._options.activation
        return self.relu(x, name) if make is None else make(name.replace("relu", "act"))(x)

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Adds a ReLU."""
        return keras.layers.ReLU(name=name)(x)

    def stem_pool(self, x: keras.KerasTensor, *, signed: bool) -> keras.KerasTensor:
        """Adds the pooling of 3 x 3 with stride 2 after the convolution of a large stem.

        Args:
            x: `[batch, height, width, channels]`.
            signed: Whether values may be negative, so that padding with zeros is wrong.

        Returns:
            `[batch, ceil(height / 2), ceil(width / 2), channels]`.
        """
        if self._options.padding == "same":
            return keras.layers.MaxPooling2D(3, 2, padding="same", name="pool")(x)
        if signed:  # one more pooling, of single pixels, takes every second window
            x = keras.layers.MaxPooling2D(3, 1, padding="same", name="pool_windows")(x)
            return keras.layers.MaxPooling2D(1, 2, name="pool")(x)
        return keras.layers.MaxPooling2D(3, 2, name="pool")(keras.layers.ZeroPadding2D(1, name="pool_pad")(x))

    def add(self, shortcut: keras.KerasTensor, branch: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Adds the sum at the end of a block.

        Raises:
            ConfigError: The two have different numbers of channels.
        """
        if shortcut.shape[-1] != branch.shape[-1]:
            raise ConfigError(
                f"expected equal widths where {name} joins the shortcut and the branch, received {shortcut.shape[-1]} "
                f"and {branch.shape[-1]}; give every convolution of one channel group the same width"
            )
        return keras.layers.Add(name=name)([shortcut, branch])

    def classifier(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
        """Adds the dense layer `fc`, which returns the logits."""
        return keras.layers.Dense(
            num_classes,
            use_bias=self._classifier_bias,
            kernel_initializer=self._kernel("fc", self._start.classifier),
            bias_initializer=self._bias("fc", x.shape[-1]),
            name="fc",
        )(x)

    def pooled_classifier(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
        """Adds the average over the feature map, or over its patches, and the classifier."""
        size = self._options.final_pool
        if size is None:
            return self.classifier(keras.layers.GlobalAveragePooling2D(name="global_pool")(x), num_classes)
        x = self.classifier(keras.layers.AveragePooling2D(size, name="final_pool")(x), num_classes)
        return keras.layers.Flatten(name="logits")(keras.layers.Permute((3, 1, 2), name="classes_first")(x))

    def _kernel(self, name: str, init: str) -> keras.initializers.Initializer:
        """Returns the initializer of the kernel of a layer."""
        start = self._start
        return initializer(
            init, seed=layer_seed(self._options.seed, name), mode=start.mode, gain=start.gain, fan_scale=start.fan_scale
        )

    def _bias(self, name: str, fan_in: int) -> keras.initializers.Initializer:
        """Returns the initializer of the bias of a layer."""
        if self._start.biases == "zeros":
            return keras.initializers.Zeros()
        bound = fan_in**-0.5
        return keras.initializers.RandomUniform(-bound, bound, seed=layer_seed(self._options.seed, f"{name}/bias"))


_START = Start()


@dataclass(frozen=True)
class Chain:
    """An architecture whose layers follow one another.

    Args:
        steps: The layers in order, separated by blanks: `conv64` (3 x 3, 64 channels), `norm`, `act` (the activation of
            the model), `relu` (always a ReLU), `pool` (2 x 2), `average` (over the feature map), `flatten`, `hidden256`
            (dense). The classifier follows the last one.
        other_steps: The layers for activations other than ReLU. Default: `steps`.
        conv_bias: Whether convolutions have a bias.
        classifier_bias: Whether the classifier has a bias.
        start: Default initial weights.
        classifier_like_layers: Whether the classifier is initialized like the other layers.
    """

    steps: str
    other_steps: str | None = None
    conv_bias: bool = False
    classifier_bias: bool = False
    start: Start = _START
    classifier_like_layers: bool = True

    def default_widths(self) -> dict[str, int]:
        """Returns the output channels of every convolution and hidden dense layer, by layer name."""
        return {name: width for name, _, width in _named(self.steps) if width is not None}

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
        make = LayerFactory(widths, options, conv_bias=self.conv_bias, classifier_bias=self.classifier_bias)
        other = options.activation is not None and self.other_steps is not None
        inputs = x = keras.Input(tuple(input_shape), name="images")
        for layer, kind, _ in _named(self.other_steps if other and self.other_steps else self.steps):
            x = _step(make, x, layer, kind)
        return keras.Model(inputs, make.classifier(x, num_classes), name=name)


def _named(steps: str) -> list[tuple[str, str, int | None]]:
    """Returns layer name, kind and, for convolutions and hidden layers, width of each step."""
    named: list[tuple[str, str, int | None]] = []
    stage = convolution = hidden = 0
    prefix = ""
    for step in steps.split():
        match = _STEP.fullmatch(step)
        if match is None:
            raise ConfigError(
                f"expected steps like conv64, norm, act, pool or hidden256, received {step!r}; correct it"
            )
        kind = match[1] or step
        if kind == "conv":
            prefix = f"stage{stage}.{convolution}_"
            convolution += 1
            named.append((prefix + "conv", kind, int(match[2])))
        elif kind == "hidden":
            prefix = f"hidden{hidden}_"
            hidden += 1
            named.append((prefix.rstrip("_"), kind, int(match[2])))
        elif kind == "pool":
            named.append((f"stage{stage}_pool", kind, None))
            stage, convolution = stage + 1, 0
        else:
            whole_map = {"average": "global_pool", "flatten": "flatten"}
            short = {"norm": "bn", "act": "act" if "relu" in steps.split() else "relu", "relu": "relu"}
            named.append((whole_map.get(kind) or prefix + short[kind], kind, None))
    return named


def _step(make: LayerFactory, x: keras.KerasTensor, name: str, kind: str) -> keras.KerasTensor:
    """Adds one layer."""
    if kind == "conv":
        return make.convolution(x, name, kernel=3)
    if kind == "hidden":
        return make.dense(x, name)
    if kind == "norm":
        return make.batch_norm(x, name)
    if kind == "act":
        return make.activation(x, name)
    if kind == "relu":
        return make.relu(x, name)
    if kind == "average":
        return keras.layers.GlobalAveragePooling2D(name=name)(x)
    if kind == "flatten":
        return keras.layers.Flatten(name=name)(x)
    if min(x.shape[1:3]) < 2:
        raise ConfigError(
            f"expected larger images: at {name}, the feature map of {x.shape[1]} x {x.shape[2]} is too small to pool; "
            "use another architecture"
        )
    return keras.layers.MaxPooling2D(2, name=name)(x)
