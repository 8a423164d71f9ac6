"""Random directions in the space of a model's weights, scaled filter by filter (Li et al. 2018)."""

from collections.abc import Sequence

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph import model_calls
from tfprune.layers.held_weights import HeldWeight
from tfprune.layers.kernels import kernel_layer, named_kernels, prunable_kernels


class FilterDirections:
    """Draws filter-normalized directions: each filter has the norm of the same filter of the weights.

    A filter is what makes one output channel: of a convolution all weights that it reads with, of a dense layer the
    weights of a unit, of a depthwise kernel the window of one channel. All that is no kernel, such as biases and the
    scales and offsets of normalizations, stays as it is: its part of a direction is 0.

    Args:
        model: A functional or sequential model.
        variables: Its weights that a direction has parts for.
        seed: Seed of all directions.

    Raises:
        ConfigError: None of the variables is a kernel.

    Reference:
        Li et al., Visualizing the Loss Landscape of Neural Nets (NeurIPS 2018), section 4.
    """

    def __init__(self, model: keras.Model, variables: Sequence[keras.Variable], seed: int) -> None:
        kernels = {
            id(held.variable): held
            for call in model_calls(model)
            for held in prunable_kernels(call.layer, embeddings=True).values()
        }
        self._held = [kernels.get(id(variable)) for variable in variables]
        if not any(self._held):
            raise ConfigError(f"expected trainable kernels in {model.name}, found none; give a model with such layers")
        self._weights = [np.asarray(variable, np.float64) for variable in variables]
        self._random = np.random.default_rng(seed)

    def draw(self) -> list[np.ndarray]:
        """Returns the next direction, a float64 array for each variable."""
        return [
            np.zeros_like(weights) if held is None else normalized(self._normal(weights), weights, filter_axes(held))
            for held, weights in zip(self._held, self._weights, strict=True)
        ]

    def _normal(self, weights: np.ndarray) -> np.ndarray:
        return self._random.standard_normal(weights.shape)


def normalized(direction: np.ndarray, weights: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Scales each filter of a direction to the norm of the filter of the weights.

    Args:
        direction: Of the shape of the weights.
        weights: The weights.
        axes: The axes that tell filters apart, negative.

    Returns:
        The scaled direction.

    Example:
        >>> normalized(np.array([[3.0, 1.0], [4.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 0.0]]), [-1]).round(3).tolist()
        [[0.6, 0.0], [0.8, 0.0]]
    """
    within = tuple(axis for axis in range(weights.ndim) if axis - weights.ndim not in axes)
    norms = [np.sqrt(np.square(each).sum(within, keepdims=True)) for each in (direction, weights)]
    return direction * (norms[1] / norms[0])


def filter_axes(held: HeldWeight) -> tuple[int, ...]:
    """Returns the axes, negative, along which the filters of a kernel lie side by side.

    Args:
        held: A kernel, with the layer that holds it.
    """
    if isinstance(held.layer, keras.layers.EinsumDense):
        return _einsum_axes(held.layer)
    row = kernel_layer(held.layer)
    known = named_kernels(held.layer) if row is None else row.kernels
    kernel = next((each for each in known if each.attribute == held.attribute.lstrip("_")), None)
    if kernel is None or kernel.outputs is None:
        return (-1,)
    return (kernel.inputs, kernel.outputs) if kernel.depthwise and kernel.inputs is not None else (kernel.outputs,)


def _einsum_axes(layer: keras.layers.EinsumDense) -> tuple[int, ...]:
    """Returns the axes of an einsum's kernel that are axes of its output."""
    inputs, outputs = layer.equation.split("->")
    _, kernel = inputs.split(",")
    return tuple(place - len(kernel) for place, letter in enumerate(kernel) if letter in outputs)
