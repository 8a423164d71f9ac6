"""The layers that networks are made of: named, padded and initialised as asked."""

from collections.abc import Callable, Mapping

import keras

from tfprune.errors import ConfigError
from tfprune.models.initial_weights import initializer, layer_seed
from tfprune.models.network_options import NetworkOptions


class NetworkLayers:
    """Makes and calls the layers of one network, all of them Keras' own.

    Each layer has an initialiser of its own, seeded from the network's seed and the layer's name: one that layers
    share gives all convolutions of one shape the same weights.

    Args:
        widths: Output channels of each convolution and hidden dense layer, by layer name.
        options: What was chosen about the network.
        conv_bias: Whether convolutions have a bias.
        classifier_bias: Whether the classifier has one.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        options: NetworkOptions,
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
        """A convolution, padded so that stride 1 keeps the size."""
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
        """A hidden dense layer; it has no bias."""
        start = self._kernel(name, self._start.init)
        return keras.layers.Dense(self._widths[name], use_bias=False, kernel_initializer=start, name=name)(x)

    def batch_norm(
        self, x: keras.KerasTensor, name: str, *, ends_branch: bool = False, momentum: float = 0.9
    ) -> keras.KerasTensor:
        """A batch norm, or nothing where the network has none."""
        return self.norm_layer(name, ends_branch=ends_branch, momentum=momentum)(x)

    def norm_layer(
        self, name: str, *, ends_branch: bool = False, momentum: float = 0.9
    ) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
        """A batch norm to call, several times if one likes; the identity where the network has none."""
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
        """The network's activation: a rectifier named `...relu`, or the one asked for, named `...act`."""
        make = self._options.activation
        return self.relu(x, name) if make is None else make(name.replace("relu", "act"))(x)

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """A rectifier."""
        return keras.layers.ReLU(name=name)(x)

    def stem_pool(self, x: keras.KerasTensor, *, signed: bool) -> keras.KerasTensor:
        """The pooling of 3 x 3 with stride 2 behind a large stem.

        Args:
            x: `[batch, height, width, channels]`.
            signed: Whether values may be negative, so that zeros must not be padded.

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
        return keras.layers.Dense(
            num_classes,
            use_bias=self._classifier_bias,
            kernel_initializer=self._kernel("fc", self._start.classifier),
            bias_initializer=self._bias("fc", x.shape[-1]),
            name="fc",
        )(x)

    def pooled_classifier(self, x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
        """The average over the map, or over its patches, and the classifier."""
        size = self._options.final_pool
        if size is None:
            return self.classifier(keras.layers.GlobalAveragePooling2D(name="global_pool")(x), num_classes)
        x = self.classifier(keras.layers.AveragePooling2D(size, name="final_pool")(x), num_classes)
        return keras.layers.Flatten(name="logits")(keras.layers.Permute((3, 1, 2), name="classes_first")(x))

    def _kernel(self, name: str, init: str) -> keras.initializers.Initializer:
        start = self._start
        return initializer(
            init, seed=layer_seed(self._options.seed, name), mode=start.mode, gain=start.gain, fan_scale=start.fan_scale
        )

    def _bias(self, name: str, fan_in: int) -> keras.initializers.Initializer:
        if self._start.biases == "zeros":
            return keras.initializers.Zeros()
        bound = fan_in**-0.5
        return keras.initializers.RandomUniform(-bound, bound, seed=layer_seed(self._options.seed, f"{name}/bias"))
