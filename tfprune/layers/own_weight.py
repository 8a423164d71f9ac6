"""A layer that holds a single weight, for functional models of layers that compute with weights themselves."""

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfprune")
class OwnWeight(keras.layers.Layer):
    """Returns its weight, whatever it is called with.

    Args:
        shape: The shape of the weight.
        weight_dtype: The type of the weight, if that is no floating point number.
        **options: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, shape: Sequence[int], weight_dtype: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.shape, self.weight_dtype = tuple(shape), weight_dtype

    def build(self, input_shape: Any) -> None:
        """Makes the weight."""
        self.weight = self.add_weight(
            shape=self.shape, initializer="zeros", dtype=self.weight_dtype, trainable=self.trainable, name="weight"
        )

    def call(self, inputs: Any) -> Any:
        """Returns the weight; the inputs only place the layer in a graph."""
        return self.weight.value if self.weight_dtype else keras.ops.cast(self.weight.value, self.compute_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Returns a symbolic tensor of the weight's shape."""
        return keras.KerasTensor(self.shape, self.weight_dtype or self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "shape": self.shape, "weight_dtype": self.weight_dtype}
