"""What one may choose about a network besides its architecture."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import keras

from tfprune.errors import ConfigError

Padding = Literal["same", "symmetric"]
BatchNorm = Literal["affine", "fixed", "none"]
Stem = Literal["auto", "small", "large"]


@dataclass(frozen=True)
class Start:
    """How the weights of a network begin.

    Attributes:
        init: Initial weights of kernels, a name of `initializer`.
        mode: Its fan.
        gain: Its gain.
        fan_scale: Its factor of the fan.
        classifier: Initial weights of the classifier's kernel, a name of `initializer`.
        biases: `zeros`, or `standard`: uniform in ±1/√fan_in, as PyTorch does.
        zero_gamma: Whether the last batch norm of a residual branch begins with 0.
    """

    init: str = "kaiming_normal"
    mode: str = "fan_in"
    gain: float | None = None
    fan_scale: float = 1.0
    classifier: str = "small_normal"
    biases: Literal["zeros", "standard"] = "zeros"
    zero_gamma: bool = False


@dataclass(frozen=True)
class NetworkOptions:
    """The choices; see `build_model`.

    Raises:
        ConfigError: A choice is none of those there are.
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
        for name, choices in (
            ("padding", ("same", "symmetric")),
            ("batch_norm", ("affine", "fixed", "none")),
            ("stem", ("auto", "small", "large")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"expected {name} to be one of {', '.join(choices)}; received {getattr(self, name)!r}; use one"
                )
        if self.final_pool is not None and self.final_pool < 1:
            raise ConfigError(
                f"expected a final_pool of 1 or more, received {self.final_pool}; leave it out or raise it"
            )
