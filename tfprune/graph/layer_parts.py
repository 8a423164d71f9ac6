"""Opened layers as their parts, each made again without some channels."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import OpenedLayer
from tfprune.graph.cutter import Cutter
from tfprune.graph.labels import Axes, LayerChannels, kept_positions
from tfprune.graph.opening import run_opening
from tfprune.graph.random_inputs import definite_shape, random_array
from tfprune.keras_private import inference_arguments, tensors_in


class Parts:
    """Runs what opened layers compute, call by call, without the masked channels.

    Args:
        opened: The opened layers of a model.
        by_layer: Where its channels are in every layer, by name.
        axes: Gives the channels along the axes of a symbolic tensor.
        mask: Bool `[channels]`, True for what is kept.
        value: Gives the whole values of a variable. Default: those that it has.
    """

    def __init__(
        self,
        opened: Iterable[OpenedLayer],
        by_layer: Mapping[str, LayerChannels],
        axes: Callable[[keras.KerasTensor], Axes],
        mask: np.ndarray,
        value: Callable[[keras.Variable], np.ndarray] = np.asarray,
    ) -> None:
        self._opened = {id(each.layer): each for each in opened}
        self._cutter = Cutter(by_layer, mask, value=value)
        self._axes, self._mask = axes, mask
        self._made: dict[int, keras.Layer] = {}
        self._rng = np.random.default_rng(0)

    def weights(self, layer: keras.Layer) -> list[np.ndarray]:
        """Returns what remains of the variables of a layer, in their order."""
        return [self._cutter.weight(layer, variable) for variable in layer.variables]

    def kept_axes(self, tensor: keras.KerasTensor) -> tuple[Any, ...]:
        """Returns the shape of a symbolic tensor, its type, and which positions are kept along each axis, as bytes."""
        kept = (None if each is None else kept_positions(each, self._mask).tobytes() for each in self._axes(tensor))
        return tuple(tensor.shape), tensor.dtype, *kept

    def kept_shape(self, tensor: keras.KerasTensor) -> tuple[int | None, ...]:
        """Returns the shape of what is kept of a symbolic tensor."""
        kept = (None if each is None else int(kept_positions(each, self._mask).sum()) for each in self._axes(tensor))
        sizes = zip(tensor.shape[1:], kept, strict=True)
        return tensor.shape[0], *(size if count is None else count for size, count in sizes)

    def kept_part(self, variable: keras.Variable) -> tuple[Any, ...]:
        """Returns the shape of a variable, and which positions are kept along its axes, as bytes."""
        slots = self._cutter.slots(variable)
        return tuple(variable.shape), *(
            (slot.axis, kept_positions(slot.channels, self._mask).tobytes()) for slot in slots
        )

    def random_input(self, tensor: keras.KerasTensor) -> Any:
        """Returns random values for what is kept of a symbolic tensor."""
        values = random_array(definite_shape(tensor.shape), tensor.dtype, self._rng)
        for axis, channels in enumerate(self._axes(tensor), start=1):
            if channels is not None:
                values = np.compress(kept_positions(channels, self._mask), values, axis)
        return keras.ops.convert_to_tensor(values, tensor.dtype)

    def run(self, layer: keras.Layer, node: Any, inputs: Sequence[Any]) -> list[Any]:
        """Runs one call of an opened layer.

        Args:
            layer: The layer.
            node: Keras' record of the call.
            inputs: A value for each symbolic tensor that it takes.

        Returns:
            A value for each that it returns.
        """
        opening = self._opened[id(layer)].openings[id(node)]
        return run_opening(opening, inputs, self._call, lambda variable: self._cutter.weight(layer, variable))

    def _call(self, node: Any, values: Mapping[int, Any]) -> list[Any]:
        operation = node.operation
        inner = self._opened.get(id(operation))
        if inner is not None and id(node) in inner.openings:
            return self.run(operation, node, [values[id(tensor)] for tensor in node.input_tensors])
        arguments, named = inference_arguments(node, values)
        if not isinstance(operation, keras.Layer):
            new = self._cutter.operation(operation) if self._cutter.changes(operation) else operation
            return tensors_in(self._cutter.call(new, *arguments, **named))
        if id(operation) not in self._made:
            new = self._made[id(operation)] = self._cutter.layer(operation)
            self._cutter.call(new, *arguments, **named)  # builds it
            for variable, value in zip(new.variables, self.weights(operation), strict=True):
                variable.assign(value)
        return tensors_in(self._cutter.call(self._made[id(operation)], *arguments, **named))
