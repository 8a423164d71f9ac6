"""A layer of any kind whose kernels are masked, wherever in it they are."""

from collections.abc import Iterable, Mapping
from functools import wraps
from typing import Any

import keras
import tensorflow as tf

from tfprune.arguments import whole_number
from tfprune.errors import ConfigError
from tfprune.keras_private import stored_value, substituted_values
from tfprune.layers.held_weights import weight_at
from tfprune.layers.masked import Masked
from tfprune.reprs import described


@keras.saving.register_keras_serializable(package="tfprune")
class MaskedLayer(Masked, keras.layers.Layer):
    """A layer that computes with `kernel * mask`, for each of its kernels that is masked.

    It takes the arguments of the layer that it masks, of whatever class: recurrent layers, attention, wrappers, blocks
    of one's own. The products are computed once per call, and the layer, and all layers in it, read them instead of the
    kernels. Gradients flow through them: that of a masked weight is exactly 0, and the kernel keeps its value,
    unless the layer itself writes it, as `keras.layers.SpectralNormalization` does.

    Attributes of the masked layer can be read from this one.

    Args:
        layer: The layer to mask.
        shapes: The shape of each kernel that is masked, by its path in the layer, such as `cell.recurrent_kernel`.
        **kwargs: `name` and `trainable`. Default: those of the layer.

    Attributes:
        layer: The layer that is masked.
        masks: Bool variables by path, not trained; they keep everything at first.

    Raises:
        ConfigError: When it is called, a path leads to no weight of this shape.

    Example:
        >>> lstm = keras.layers.LSTM(2)
        >>> masked = MaskedLayer(lstm, {"cell.kernel": (3, 8)})
        >>> masked(keras.ops.ones((1, 5, 3))).shape, masked.units
        (TensorShape([1, 2]), 2)
        >>> masked.masks["cell.kernel"].assign(keras.ops.zeros((3, 8)))  # doctest: +SKIP
    """

    def __init__(self, layer: keras.Layer, shapes: Mapping[str, Iterable[int]], **kwargs: Any) -> None:
        if not isinstance(layer, keras.Layer):
            raise ConfigError(f"layer: expected a Keras layer, received {described(layer)}")
        shapes = _checked_shapes(shapes)

        # Keras passes training and masks to a layer whose `call` takes them, and reads its signature when it is made.
        @wraps(layer.call)
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._masked_call(*args, **kwargs)

        object.__setattr__(self, "call", call)
        super().__init__(**{"name": layer.name, "trainable": layer.trainable, **kwargs, "dtype": layer.dtype_policy})
        self.layer = layer
        self.supports_masking = layer.supports_masking
        self._shapes = shapes
        with keras.name_scope(self.name):
            self._masks = {
                path: self.add_weight(
                    name=f"{path}.mask", shape=shape, initializer="ones", dtype="bool", trainable=False
                )
                for path, shape in self._shapes.items()
            }

    @classmethod
    def around(cls, layer: keras.Layer, kernels: Mapping[str, Any]) -> "MaskedLayer":
        """Makes a masked layer.

        Args:
            layer: The layer to mask.
            kernels: The kernels to mask by path, or anything with their shapes.
        """
        return cls(layer, {path: kernel.shape for path, kernel in kernels.items()})

    @property
    def masks(self) -> dict[str, keras.Variable]:
        """The masks by the path of the kernel."""
        return dict(self._masks)

    @property
    def masked_kernels(self) -> dict[str, keras.Variable]:
        """The kernels that are masked, by path; the layer must be built."""
        found = {path: weight_at(self.layer, path) for path in self._shapes}
        for path, kernel in found.items():
            shape = None if kernel is None else tuple(kernel.shape)
            if shape != self._shapes[path]:
                raise ConfigError(
                    f"layer {self.name}: expected a weight of shape {self._shapes[path]} at {path} of the "
                    f"{type(self.layer).__name__}, found {shape or 'none'}; mask the model again"
                )
        return {path: kernel for path, kernel in found.items() if kernel is not None}

    def _masked_call(self, *args: Any, **kwargs: Any) -> Any:
        if any(weight_at(self.layer, path) is None for path in self._shapes):
            with keras.StatelessScope():  # some layers make their parts when they are first called
                self.layer(*args, **kwargs)
        values = []
        for path, kernel in self.masked_kernels.items():
            kernel.masked = True  # by which `tfprune.optimizers.Bop` finds it
            value = tf.convert_to_tensor(stored_value(kernel))
            values.append((kernel, value * tf.cast(tf.convert_to_tensor(self._masks[path].value), value.dtype)))
        with substituted_values(values) as losses:
            outputs = self.layer(*args, **kwargs)
        if losses:
            self.add_loss(losses)
        return outputs

    def compute_mask(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the mask of time steps that the layer passes on."""
        return self.layer.compute_mask(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration of the layer, and what is masked."""
        shapes = {path: list(shape) for path, shape in self._shapes.items()}
        config = {key: value for key, value in super().get_config().items() if key != "dtype"}
        layer = keras.saving.serialize_keras_object(self.layer)
        layer.pop("build_config", None)  # it is built when it is called
        return {**config, "layer": layer, "shapes": shapes}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "MaskedLayer":
        """Makes a layer from its configuration."""
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects=custom_objects)
        return cls(layer, **{key: value for key, value in config.items() if key != "layer"})

    def build_from_config(self, config: Any) -> None:
        """Does nothing: the layer that is masked is built when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "layer" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.layer, name)


def unmasked(layer: Any) -> Any:
    """Returns the layer that a `MaskedLayer` masks; any other layer as it is."""
    return layer.layer if isinstance(layer, MaskedLayer) else layer


def _checked_shapes(shapes: Any) -> dict[str, tuple[int, ...]]:
    """Returns shapes by path; raises `ConfigError` unless they are whole numbers by names."""
    if not isinstance(shapes, Mapping) or not all(
        isinstance(path, str) and isinstance(shape, Iterable) for path, shape in shapes.items()
    ):
        raise ConfigError(f"shapes: expected shapes by the paths of kernels, received {described(shapes)}")
    return {path: tuple(whole_number("shapes", size) for size in shape) for path, shape in shapes.items()}
