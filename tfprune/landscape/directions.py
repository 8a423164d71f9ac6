"""Random directions in the space of a model's weights, scaled filter by filter (Li et al. 2018)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError
from tfprune.graph import mask_variables, model_calls
from tfprune.layers.held_weights import HeldWeight
from tfprune.layers.kernels import kernel_layer, named_kernels, prunable_kernels


class FilterDirections:
    """Draws filter-normalized directions: each filter has the norm of the same filter of the weights.

    A filter is what makes one output channel: of a convolution all weights that it reads with, of a dense layer the
    weights of a unit, of a depthwise kernel the window of one channel. All that is no kernel, such as biases and the
    scales and offsets of normalizations, stays as it is: its part of a direction is 0. So do masked weights, which are
    not part of the norms either.

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
        masks = mask_variables(model)
        kernels: dict[int, tuple[HeldWeight, Any]] = {}
        for call in model_calls(model):
            for path, held in prunable_kernels(call.layer, embeddings=True).items():
                kernels[id(held.variable)] = held, masks.get(f"{call.name}/{path}", 1.0)
        self._parts: list[np.ndarray | _Kernel] = [
            np.zeros(variable.shape) if id(variable) not in kernels else _Kernel(*kernels[id(variable)])
            for variable in variables
        ]
        if not any(isinstance(each, _Kernel) for each in self._parts):
            raise ConfigError(f"expected trainable kernels in {model.name}, found none; give a model with such layers")
        self._random = np.random.default_rng(seed)

    def draw(self) -> list[np.ndarray]:
        """Returns the next direction, a float64 array for each variable."""
        return [each.draw(self._random) if isinstance(each, _Kernel) else each for each in self._parts]


class _Kernel:
    """A kernel that directions have a part for.

    Args:
        held: The kernel.
        mask: Its mask, 1 for all.
    """

    def __init__(self, held: HeldWeight, mask: Any) -> None:
        self._mask = np.asarray(mask, np.float64)
        self._weights = np.asarray(held.variable, np.float64) * self._mask
        self._axes = filter_axes(held)

    def draw(self, random: np.random.Generator) -> np.ndarray:
        return normalized(random.standard_normal(self._weights.shape) * self._mask, self._weights, self._axes)


def normalized(direction: np.ndarray, weights: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Scales each filter of a direction to the norm of the filter of the weights.

    Args:
        direction: Of the shape of the weights.
        weights: The weights.
        axes: The axes that tell filters apart, negative.

    Returns:
        The scaled direction; 0 where it was 0 in a whole filter.

    Example:
        >>> normalized(np.array([[3.0, 1.0], [4.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 0.0]]), [-1]).round(3).tolist()
        [[0.6, 0.0], [0.8, 0.0]]
    """
    within = tuple(axis for axis in range(weights.ndim) if axis - weights.ndim not in axes)
    norms = [np.sqrt(np.square(each).sum(within, keepdims=True)) for each in (direction, weights)]
    return direction * np.divide(norms[1], norms[0], out=np.zeros_like(norms[0]), where=norms[0] > 0)


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
