"""The layers of a residual network, named and initialised as EKG's authors do."""

import zlib
from collections.abc import Mapping

import keras

from tfprune.errors import ConfigError


class ResNetLayers:
    """Makes and calls the layers of one network.

    Convolutions start from a truncated normal distribution of variance 2 / fan-out, the classifier from N(0, 0.01),
    and the last batch norm of a block with gamma 0, so that every block begins as the identity. Each layer has an
    initialiser of its own, seeded from the network's seed and the layer's name: the original shared one initialiser,
    whereby current Keras gives all convolutions of one shape the same weights.

    Args:
        widths: Output channels of each convolution, by layer name.
        seed: Seed of all weights; `None` for weights that differ every time.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `nets/ResNet.py`.
    """

    def __init__(self, widths: Mapping[str, int], seed: int | None) -> None:
        self._widths = widths
        self._seed = seed

    def convolution(
        self, x: keras.KerasTensor, prefix: str, number: str, *, kernel: int, stride: int = 1
    ) -> keras.KerasTensor:
        """A convolution `<prefix>conv<number>` without bias, and its batch norm `<prefix>bn<number>`."""
        name = f"{prefix}conv{number}"
        start = keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal", seed=self._seed_of(name))
        x = keras.layers.Conv2D(
            self._widths[name],
            kernel,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer=start,
            name=name,
        )(x)
        return keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            gamma_initializer="zeros" if number == "2" else "ones",
            name=f"{prefix}bn{number}",
        )(x)

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """A rectifier."""
        return keras.layers.ReLU(name=name)(x)

    def add(self, shortcut: keras.KerasTensor, branch: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """The sum at the end of a block.

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
        """The dense layer `fc` that gives the logits."""
        start = keras.initializers.RandomNormal(0.0, 0.01, seed=self._seed_of("fc"))
        return keras.layers.Dense(num_classes, kernel_initializer=start, name="fc")(x)

    def _seed_of(self, name: str) -> int | None:
        return None if self._seed is None else zlib.crc32(f"{self._seed}/{name}".encode()) & 0x7FFFFFFF
