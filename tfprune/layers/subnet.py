"""Layers with a frozen random kernel, of which trained scores pick a sub-network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import number, seed_number, truth
from tfprune.errors import ConfigError, check_choice
from tfprune.layers.masked import SavesAllVariables
from tfprune.ops.density import kept_count
from tfprune.ops.subnet import binary_subnet_kernel, sampled_subnet_kernel
from tfprune.ops.top_k import largest

_selected: ContextVar[bool] = ContextVar("selected", default=False)
Scope: TypeAlias = Literal["layer", "global"]
Selection: TypeAlias = Literal["top", "sampled", "fixed"]


class Subnet(SavesAllVariables, keras.layers.Layer):
    """Base class of layers with a frozen random kernel, of which trained scores pick the weights that are used.

    With `selection="top"` the effective kernel is `alpha * sign(kernel) * mask`: the mask keeps the weights with the
    largest absolute scores, exactly as many as the density says, and alpha is the mean absolute kept weight. Each
    training step selects the mask again; evaluation uses it as it is, and it is saved with the layer. After training,
    the mask is that of the last step; `tfprune.layers.refresh_masks` updates it to the final scores.

    Args:
        *args: Those of Keras' layer.
        density: Fraction of weights to keep, in (0, 1].
        scope: Among which weights the largest are picked: those of the `layer`, or of all layers of the model
            (`global`; the model must be a `tfprune.layers.GlobalSubnet`).
        selection: `top`; or `sampled`: at every call each weight of the plain kernel is kept with the probability
            `sigmoid(score)`; or `fixed`: the plain kernel, masked by the initial scores; nothing is trained.
        score_initializer: A Keras initializer. Default: uniform in ±1/√fan_in, of `seed`.
        original_quirks: As the authors do, divide by `trunc(density * size)` in alpha, for most densities one less than
            the number of kept weights, and remove the fraction `density` where `fixed` (for the scope `layer` only);
            and count in plain double precision, where 0.9 of 100 are 91. Default: the rule of `kept_count`.
        seed: Seed of the default score initializer and of sampling; `None` for another one every time.
        train_scores: Whether the scores are trained; the mask stays as it is if not.
        train_bias: Whether a bias is trained.
        use_bias: As in Keras' layer, but False by default.
        kernel_initializer: As in Keras' layer (`depthwise_initializer` in depthwise ones). Default: normal, variance
            2/fan_in.
        **kwargs: Those of Keras' layer.

    Attributes:
        kernel: The kernel of Keras' layer, not trained.
        scores: Of the kernel's shape, trained.
        mask: Bool, of the kernel's shape, not trained.
        density: Scalar float64, not trained; see `tfprune.layers.set_density`.

    Raises:
        ConfigError: A setting has an invalid value.

    Reference:
        Diffenderfer & Kailkhura, "Multi-Prize Lottery Ticket Hypothesis" (ICLR 2021).
    """

    _initializer_key = "kernel_initializer"

    def __init__(
        self,
        *args: Any,
        density: float = 0.5,
        scope: Scope = "layer",
        selection: Selection = "top",
        score_initializer: Any = None,
        original_quirks: bool = False,
        seed: int | None = None,
        train_scores: bool = True,
        train_bias: bool = True,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault(
            self._initializer_key, keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        )
        super().__init__(*args, use_bias=use_bias, **kwargs)
        check_settings(density, scope, selection)
        self._settings = {
            "density": float(density),
            "scope": scope,
            "selection": selection,
            "original_quirks": truth("original_quirks", original_quirks),
            "seed": None if seed is None else seed_number(seed),
            "train_scores": truth("train_scores", train_scores),
            "train_bias": truth("train_bias", train_bias),
        }
        self.scope, self.selection, self.original_quirks, self.seed = scope, selection, original_quirks, seed
        self.score_initializer = keras.initializers.get(score_initializer)
        self._random = keras.random.SeedGenerator(seed) if selection == "sampled" else None

    def build(self, input_shape: Any) -> None:
        """Creates kernel, scores and mask."""
        super().build(input_shape)
        shape = self.kernel.shape
        self.scores = self.add_weight(
            name="scores",
            shape=shape,
            initializer=self.score_initializer or _score_initializer(shape, self._inputs_per_output(shape), self.seed),
            trainable=self._settings["train_scores"] and self.selection != "fixed",
            autocast=False,
        )
        density = np.float64(self._settings["density"])
        self.density = self.add_weight(
            name="density",
            # Keras converts constants through float32, in which 0.2 of 10 weights would keep 3.
            initializer=lambda *_, **__: tf.constant(density),
            dtype="float64",
            trainable=False,
            autocast=False,
        )
        self.mask = self.add_weight(
            name="mask", shape=shape, initializer=lambda *_, **__: self._top(), dtype="bool", trainable=False
        )

    def add_weight(self, *args: Any, name: str | None = None, **kwargs: Any) -> keras.Variable:
        """Adds a weight as Keras does, with the kernel frozen and in full precision, and the bias frozen on request."""
        if name == "kernel":
            kwargs |= {"trainable": False, "autocast": False, "regularizer": None}
        if name == "bias":
            kwargs["trainable"] = self._settings["train_bias"]
        return super().add_weight(*args, name=name, **kwargs)

    @property
    def learns(self) -> bool:
        """Whether training changes which weights are used."""
        return bool(self.trainable and self.selection == "top" and self.scores.trainable)

    def select(self) -> None:
        """Sets the mask to the largest present scores among the layer's own weights."""
        self.mask.assign(self._top())

    def effective_kernel(self, training: bool = False) -> tf.Tensor:
        """Returns the kernel that the layer computes with, in full precision.

        Args:
            training: Select the mask first, where the scope is `layer`.

        Returns:
            A tensor of the kernel's shape.

        Raises:
            ConfigError: In training, where the scope is `global` and nothing has selected the masks.
        """
        kernel, scores = tf.convert_to_tensor(self.kernel.value), tf.convert_to_tensor(self.scores.value)
        if self.selection == "sampled":
            uniform = keras.random.uniform(kernel.shape, dtype=kernel.dtype.name, seed=self._random)
            return sampled_subnet_kernel(kernel, scores, uniform)
        if training and self.learns:
            self._renew()
        mask = tf.convert_to_tensor(self.mask.value)
        if self.selection == "fixed":
            return tf.where(mask, kernel, tf.zeros([], kernel.dtype))
        return binary_subnet_kernel(kernel, scores, mask, self._divisor(mask))

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration of Keras' layer and the settings of the sub-network."""
        initializer = self.score_initializer and keras.initializers.serialize(self.score_initializer)
        return {**self.stock_config(), **self._settings, "score_initializer": initializer}

    def stock_config(self) -> dict[str, Any]:
        """Returns the configuration of Keras' layer."""
        return super().get_config()

    def _renew(self) -> None:
        if self.scope == "layer":
            self.select()
        elif not inside_selection():
            raise ConfigError(
                f"layer {self.name}: expected a selection among all layers before training, as its scope is global, "
                "found none; make the model a tfprune.layers.GlobalSubnet(inputs, outputs), or use global_selection"
            )

    def _top(self) -> tf.Tensor:
        """Returns the mask of the largest present scores among the layer's own weights, bool, of the kernel's shape."""
        scores = tf.abs(tf.convert_to_tensor(self.scores.value))
        size, density = prod(scores.shape), tf.convert_to_tensor(self.density.value)
        keep = _count(size, density, original=self.original_quirks)
        if self.selection == "fixed" and self.original_quirks:
            keep = size - tf.cast(tf.floor(density * size), tf.int32)
        return tf.reshape(largest(tf.reshape(scores, [-1]), keep), scores.shape)

    def _divisor(self, mask: tf.Tensor) -> tf.Tensor:
        """Returns the number that alpha divides by."""
        if not self.original_quirks or self.scope == "global":
            return tf.reduce_sum(tf.cast(mask, tf.int32))
        size = tf.constant(prod(self.mask.shape), tf.float64)
        return tf.floor(tf.convert_to_tensor(self.density.value) * size)

    def _kernel_for(self, training: bool | None) -> tf.Tensor:
        """Returns the kernel to compute with, in the layer's compute dtype."""
        return tf.cast(self.effective_kernel(bool(training)), self.compute_dtype)

    def _inputs_per_output(self, shape: tuple[int, ...]) -> int:
        """Returns the number of weights that an output reads."""
        return prod(shape[:-1])

    def _finish(self, outputs: tf.Tensor) -> tf.Tensor:
        """Adds the bias along the channel axis and applies the activation."""
        if self.use_bias:
            first = getattr(self, "data_format", None) == "channels_first"
            bias = tf.cast(self.bias, outputs.dtype)
            outputs += tf.reshape(bias, [1, -1] + [1] * (len(outputs.shape) - 2)) if first else bias
        return outputs if self.activation is None else self.activation(outputs)


def check_settings(density: float, scope: str = "layer", selection: str = "top") -> None:
    """Raises an error if a setting of a sub-network is invalid.

    Raises:
        ConfigError: The density is not in (0, 1], or a choice is unknown.
    """
    number("density", density, above=0, at_most=1)
    check_choice("scope", scope, Scope)
    check_choice("selection", selection, Selection)


def _score_initializer(shape: tuple[int, ...], fan: int, seed: int | None) -> keras.initializers.Initializer:
    bound = fan**-0.5
    return keras.initializers.RandomUniform(-bound, bound, seed=seed)


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetDense(Subnet, keras.layers.Dense):
    """`keras.layers.Dense` with a frozen random kernel, of which trained scores pick the weights that are used.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.

    Example:
        >>> layer = SubnetDense(10, density=0.2, seed=0)
        >>> layer(keras.ops.ones((1, 50))).shape, int(keras.ops.sum(layer.mask))
        (TensorShape([1, 10]), 100)
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Maps `[..., in]` to `[..., out]`."""
        return self._finish(keras.ops.matmul(inputs, self._kernel_for(training)))


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetConv2D(Subnet, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a frozen random kernel, of which trained scores pick the weights that are used.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.

    Example:
        >>> layer = SubnetConv2D(8, 3, density=0.25, seed=0)
        >>> layer(keras.ops.ones((1, 8, 8, 4))).shape, int(keras.ops.sum(layer.mask))
        (TensorShape([1, 6, 6, 8]), 72)
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', filters]` (or with channels first)."""
        return self._finish(self.convolution_op(inputs, self._kernel_for(training)))


@keras.saving.register_keras_serializable(package="tfprune")
class SubnetDepthwiseConv2D(Subnet, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a frozen random kernel, of which trained scores pick the weights used.

    See `tfprune.layers.Subnet` for what it does and for the arguments it adds.
    """

    _initializer_key = "depthwise_initializer"

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolves `[batch, height, width, in]` to `[batch, height', width', in * depth_multiplier]`."""
        outputs = keras.ops.depthwise_conv(
            inputs,
            self._kernel_for(training),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._finish(outputs)

    def _inputs_per_output(self, shape: tuple[int, ...]) -> int:
        return prod(shape[:-2])


@contextmanager
def global_selection(layers: Sequence[Any]) -> Iterator[None]:
    """Selects the masks of all layers among all their scores, for a training step within the block.

    Layers of the scope `global` do not know each other, so their model must do this before it calls them in training:
    `tfprune.layers.GlobalSubnet` does, and a custom training step can.

    Args:
        layers: Built sub-network layers of the scope `global`, all with the same density.

    Yields:
        Nothing.
    """
    select_globally(layers)
    token = _selected.set(True)
    try:
        yield
    finally:
        _selected.reset(token)


def inside_selection() -> bool:
    """Returns whether the masks of layers of the scope `global` are up to date."""
    return _selected.get()


def select_globally(layers: Sequence[Any]) -> None:
    """Keeps the weights with the largest absolute scores of all layers, exactly as many as the density says.

    Of equal scores, those in earlier layers and positions are kept.

    Args:
        layers: Built sub-network layers of the scope `global`; nothing happens if there are none.
    """
    if not layers:
        return
    scores = [tf.reshape(tf.abs(tf.convert_to_tensor(layer.scores.value)), [-1]) for layer in layers]
    sizes = [each.shape[0] for each in scores]
    density = tf.convert_to_tensor(layers[0].density.value)
    keep = _count(sum(sizes), density, original=layers[0].original_quirks)
    masks = tf.split(largest(tf.concat(scores, 0), keep), sizes)
    for layer, mask in zip(layers, masks, strict=True):
        layer.mask.assign(tf.reshape(mask, layer.mask.shape))


def _count(size: int, density: tf.Tensor, *, original: bool) -> tf.Tensor:
    """Returns how many weights a density keeps; `original`: in plain double precision, see `original_kept_count`."""
    if not original:
        return kept_count(size, density)
    pruned = tf.cast(tf.floor((1.0 - density) * tf.constant(size, tf.float64)), tf.int32)
    return tf.maximum(size - pruned, 1)


def check_densities(layers: Sequence[Any]) -> None:
    """Raises an error if layers that are selected together have different densities.

    Raises:
        ConfigError: Their densities differ.
    """
    densities = sorted({float(layer.density.numpy()) for layer in layers})
    if len(densities) > 1:
        raise ConfigError(
            "expected one density in all layers of the scope global, received "
            f"{', '.join(map(str, densities))}; use one, or the scope layer"
        )
