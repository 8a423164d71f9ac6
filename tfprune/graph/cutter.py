"""Layers without the masked channels: made again smaller, with what remains of their weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import keras
import numpy as np

from tfprune.graph.labels import PINNED, Edit, LayerChannels, Slot, kept_positions, weight_at
from tfprune.graph.layer_copies import copied_layer, remade_layer
from tfprune.graph.rebuild import copy_operation


class Cutter:
    """Makes the small layers of one model and one mask.

    Args:
        by_layer: Where the channels of the model are in every layer, by name.
        mask: Bool `[channels]`, True for what is kept.
        rescale: Scale every kernel that loses channels to the norm of the whole kernel.
        value: Gives the whole values of a variable. Default: those that it has.

    Attributes:
        edits_arguments: Whether arguments of calls depend on what is kept.
    """

    def __init__(
        self,
        by_layer: Mapping[str, LayerChannels],
        mask: np.ndarray,
        *,
        rescale: bool = False,
        value: Callable[[keras.Variable], np.ndarray] = np.asarray,
    ) -> None:
        self._mask, self._rescale, self._value = mask, rescale, value
        self._channels = {id(each.layer): each for each in by_layer.values()}
        self._slots: dict[int, list[Slot]] = {}
        self._scales: dict[int, list[np.ndarray]] = {}
        for each in by_layer.values():
            self._slots = _by_variable(each) | self._slots
            for weight, channels in each.scales:
                self._scales.setdefault(id(weight_at(each.layer, weight)), []).append(channels)
        self._arguments: dict[
            int, tuple[keras.Operation, list[Edit]]
        ] = {}  # the operations keep their ids as they live
        self.edits_arguments = any(edit.argument for each in by_layer.values() for edit in each.edits)

    def changes(self, operation: keras.Operation) -> bool:
        """Returns whether settings of a layer or operation, or arguments of its calls, depend on what is kept."""
        return bool(self._of(operation).edits)

    def layer(self, layer: keras.Layer) -> keras.Layer:
        """Returns a layer without the masked channels, not built, without its weights."""
        record = self._of(layer)
        axes = [*(axis for edit in record.edits for axis in edit.axes), *(slot.channels for slot in record.slots)]
        if any(axis is not None and np.any(axis != PINNED) for axis in axes):
            return remade_layer(layer, {edit.key: partial(edit.value, mask=self._mask) for edit in record.edits})
        return copied_layer(layer)

    def operation(self, operation: keras.Operation) -> keras.Operation:
        """Returns an operation with settings for what is kept."""
        edits = self._of(operation).edits
        settings = {edit.key: partial(edit.value, mask=self._mask) for edit in edits if not edit.argument}
        new = copy_operation(operation, settings)
        self._arguments[id(new)] = new, [edit for edit in edits if edit.argument]
        return new

    def call(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Applies a new layer or operation; arguments that depend on channels are adapted."""
        _, edits = self._arguments.get(id(operation), (operation, []))
        if not edits:
            return operation(*args, **kwargs)
        given = signature(operation.call).bind(*args, **kwargs)
        for edit in edits:
            given.arguments[edit.key] = edit.value(given.arguments.get(edit.key), self._mask)
        if not isinstance(operation, keras.Layer):
            return operation(*given.args, **given.kwargs)
        named = dict(list(given.arguments.items())[len(args) :])  # a layer takes tensors only by position
        return operation(*given.args[: len(args)], **named)

    def slots(self, variable: keras.Variable) -> Sequence[Slot]:
        """Returns the axes of a variable that run over channels."""
        return self._slots.get(id(variable), ())

    def weight(self, layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
        """Returns what remains of a variable of a layer."""
        small = cut_weight(
            self._value(variable), self.slots(variable), self._mask, rescale=self._rescale and "kernel" in variable.name
        )
        for channels in self._scales.get(id(variable), ()):
            small = small * np.sqrt(kept_positions(channels, self._mask).mean(), dtype=np.float32)
        return small

    def _of(self, layer: keras.Operation) -> LayerChannels:
        return self._channels.get(id(layer)) or LayerChannels(layer)


def _by_variable(channels: LayerChannels) -> dict[int, list[Slot]]:
    found: dict[int, list[Slot]] = {}
    for slot in channels.slots:
        found.setdefault(id(weight_at(channels.layer, slot.weight)), []).append(slot)
    return found


def cut_weight(array: np.ndarray, slots: Iterable[Slot], mask: np.ndarray, *, rescale: bool = False) -> np.ndarray:
    """Cuts the kept channels out of one weight.

    Args:
        array: The whole weight.
        slots: Its axes that run over channels.
        mask: Bool `[channels]`.
        rescale: Scale the result to the Frobenius norm of the whole weight.

    Returns:
        The smaller weight.
    """
    small = array
    for slot in slots:
        small = np.take(small, slot.kept(mask), axis=slot.axis)
    if rescale and small.size != array.size:
        small = small * norm_ratio(array, small)
    return small


def norm_ratio(whole: np.ndarray, part: np.ndarray) -> np.float32:
    """Returns the factor that scales `part` to the Frobenius norm of `whole`, as `ops.masked_kernel` does."""
    squares = np.maximum(np.sum(np.square(part, dtype=np.float32)), np.float32(1e-12))
    return np.float32(np.sqrt(np.sum(np.square(whole, dtype=np.float32))) / np.sqrt(squares))
