"""Networks without shortcuts (VGG, Conv networks, dense ones) as plain Keras functional models."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import keras

from tfprune.errors import ConfigError
from tfprune.models.network_layers import NetworkLayers
from tfprune.models.network_options import NetworkOptions, Start

_STEP = re.compile(r"(conv|hidden)(\d+)|norm|act|relu|pool|average|flatten")
_START = Start()


@dataclass(frozen=True)
class Chain:
    """The plan of a network whose layers follow one another.

    Args:
        steps: What follows what, separated by blanks: `conv64` (3 x 3 to 64 channels), `norm`, `act` (the network's
            activation), `relu` (a rectifier even where the activation is another one), `pool` (2 x 2), `average` (over
            the map), `flatten`, `hidden256` (dense). The classifier comes last and is not named.
        other_steps: The same for activations other than rectifiers, where the order is another one then.
        conv_bias: Whether convolutions have a bias.
        classifier_bias: Whether the classifier has one.
        start: How the weights begin unless asked otherwise.
        classifier_like_layers: Whether the classifier is initialised as the other layers are.
    """

    steps: str
    other_steps: str | None = None
    conv_bias: bool = False
    classifier_bias: bool = False
    start: Start = _START
    classifier_like_layers: bool = True

    def default_widths(self) -> dict[str, int]:
        """Output channels of every convolution and hidden dense layer, by layer name."""
        return {name: width for name, _, width in _named(self.steps) if width is not None}

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
        make = NetworkLayers(widths, options, conv_bias=self.conv_bias, classifier_bias=self.classifier_bias)
        other = options.activation is not None and self.other_steps is not None
        inputs = x = keras.Input(tuple(input_shape), name="images")
        for layer, kind, _ in _named(self.other_steps if other and self.other_steps else self.steps):
            x = _step(make, x, layer, kind)
        return keras.Model(inputs, make.classifier(x, num_classes), name=name)


def _named(steps: str) -> list[tuple[str, str, int | None]]:
    """Each step's layer name, kind and, of convolutions and hidden layers, width."""
    named: list[tuple[str, str, int | None]] = []
    stage = convolution = hidden = 0
    prefix = ""
    for step in steps.split():
        match = _STEP.fullmatch(step)
        if match is None:
            raise ConfigError(f"expected steps like conv64, norm, act, pool or hidden256, received {step!r}; mend it")
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


def _step(make: NetworkLayers, x: keras.KerasTensor, name: str, kind: str) -> keras.KerasTensor:
    """One layer, called."""
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
            f"expected larger images, at {name} nothing is left to pool: the map is {x.shape[1]} x {x.shape[2]}; "
            "use another architecture"
        )
    return keras.layers.MaxPooling2D(2, name=name)(x)
