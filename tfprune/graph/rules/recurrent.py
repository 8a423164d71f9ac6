"""Rules for recurrent layers: a channel is removed with its gates, its states, and all that reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.lookup import (
    MASKED,
    POSITIONS,
    channel_axis,
    has_rule_of,
    mixing_function,
    named_arguments,
    only,
    pin_all_but,
    positions,
    rule,
)

layers = keras.layers
_STATES: dict[type, int] = {layers.SimpleRNNCell: 1, layers.GRUCell: 1, layers.LSTMCell: 2}
"""The number of states of each kind of cell."""

_OWN_CELL = "no rule for cells of classes that are not Keras' own"
_FIXED_STATE = "its initial state has a fixed width"


@dataclass(frozen=True)
class _Cell:
    """One cell of a recurrent layer.

    Attributes:
        cell: The cell.
        path: The attribute of the layer that holds it, as slots name it.
        units: Path of its setting `units` in the layer's configuration.
    """

    cell: Any
    path: str
    units: str

    @property
    def states(self) -> int:
        """Its number of states."""
        return _STATES[type(self.cell)]


@rule(layers.RNN, layers.SimpleRNN, layers.GRU, layers.LSTM, several=True)
def _recurrent(labels: Labels, call: Call) -> None:
    cells = _cells(call.layer)
    if cells is None:
        labels.leave_alone(call, _OWN_CELL)
        return
    read, initial = _given(labels, call)
    made = [labels.make(call, each.cell.units, _part(cells, each)) for each in cells]
    _note_cells(labels, call, cells, read, made)
    _start(labels, initial, _state_labels(cells, made))
    sequence, *states = call.outputs
    labels.put(sequence, (None, made[-1]) if call.layer.return_sequences else (made[-1],))
    for tensor, channels in zip(states, _state_labels(cells, made), strict=False):
        labels.put(tensor, (channels,))


@rule(layers.Bidirectional, several=True)
def _bidirectional(labels: Labels, call: Call) -> None:
    """Ties the channels of both directions by number, as Keras requires the same number of both."""
    layer: Any = call.layer
    named = (("forward_layer", "layer"), ("backward_layer", "backward_layer"))
    known = all(has_rule_of(getattr(layer, attribute), layers.RNN) for attribute, _ in named)
    found = [_cells(getattr(layer, attribute), f"{attribute}.", f"{key}.") for attribute, key in named if known]
    directions = [cells for cells in found if cells is not None]
    if len(directions) < 2:
        labels.leave_alone(call, _OWN_CELL if known else "no rule for such layers in two directions")
        return
    if len({tuple(each.cell.units for each in cells) for cells in directions}) > 1:
        labels.leave_alone(call, "no rule for directions of different widths")
        return
    read, initial = _given(labels, call)
    first = directions[0]
    returned = 2 if layer.merge_mode == "concat" else 1
    made = [
        labels.make(call, each.cell.units, _part(first, each), returned if each is first[-1] else 1) for each in first
    ]
    for cells in directions:
        _note_cells(labels, call, cells, read, made)
    states = [vector for cells in directions for vector in _state_labels(cells, made)]
    _start(labels, initial, states)
    merged = np.tile(made[-1], returned)
    outputs = 2 if layer.merge_mode is None else 1
    for tensor in call.outputs[:outputs]:
        labels.put(tensor, (None, merged) if layer.return_sequences else (merged,))
    for tensor, channels in zip(call.outputs[outputs:], states, strict=False):
        labels.put(tensor, (channels,))


@rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D, several=True)
def _conv_lstm(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    sequences, initial = _operands(labels, call)
    axis = channel_axis(layer.cell, sequences)
    axis += axis == 0  # behind time
    read = pin_all_but(labels, labels.of(sequences), axis)
    made = labels.make(call, layer.cell.filters)
    state = call.outputs[-1]
    place = channel_axis(layer.cell, state)
    spatial = [size for index, size in enumerate(state.shape[1:]) if index != place]
    places = positions(spatial[-layer.cell.rank :])
    _note_cell(labels, call, "cell", layer.cell, read, made, places)
    labels.edit(call, "filters", made)
    for tensor in initial:
        pin_all_but(labels, labels.of(tensor), channel_axis(layer.cell, tensor))
    _start(labels, initial, [made, made], channel_axis(layer.cell, initial[0]) if initial else 0)
    for index, tensor in enumerate(call.outputs):
        sequence = index == 0 and layer.return_sequences
        axis = channel_axis(layer.cell, tensor)
        labels.put(tensor, only(axis + (sequence and axis == 0), made, tensor))


def _cells(layer: Any, path: str = "", key: str = "") -> list[_Cell] | None:
    """Returns the cells of a recurrent layer, the first one first; None if one is not Keras' own.

    Args:
        layer: A recurrent layer.
        path: What comes before the path of its weights, such as `forward_layer.`.
        key: What comes before the path of its settings.
    """
    cell = layer.cell
    if type(cell) is layers.StackedRNNCells:
        found = [
            _Cell(each, f"{path}cell.cells.{n}", f"{key}cell.cells.{n}.units") for n, each in enumerate(cell.cells)
        ]
    else:
        within = "cell." if type(layer) is layers.RNN else ""
        found = [_Cell(cell, f"{path}cell", f"{key}{within}units")]
    return found if all(type(each.cell) in _STATES for each in found) else None


def _part(cells: Sequence[_Cell], cell: _Cell) -> str:
    """Returns the name of what one of several cells produces."""
    return f"cell{cells.index(cell)}" if len(cells) > 1 else ""


def _operands(labels: Labels, call: Call) -> tuple[keras.KerasTensor, list[Any]]:
    """Returns the sequences and the initial states that a layer is given; a mask's axes are pinned."""
    given = named_arguments(call)
    mask = given.get("mask")
    if isinstance(mask, keras.KerasTensor):
        labels.pin(*labels.of(mask), reason=MASKED)
    return given["sequences"], [each for each in keras.tree.flatten(given.get("initial_state")) if each is not None]


def _given(labels: Labels, call: Call) -> tuple[Vector, list[Any]]:
    """Returns the labels of the channels that a layer reads, and its initial states."""
    sequences, initial = _operands(labels, call)
    time, read = labels.of(sequences)
    labels.pin(time, reason=POSITIONS)
    return read, initial


def _start(labels: Labels, initial: Sequence[Any], states: Sequence[np.ndarray], axis: int = 0) -> None:
    """Unites the channels of initial states with those of the states that follow them."""
    for given, channels in zip(initial, states, strict=False):
        vector = labels.of(given)[axis] if isinstance(given, keras.KerasTensor) else None
        if vector is None:
            labels.pin(channels, reason=_FIXED_STATE)
        else:
            labels.unite(vector, channels)


def _state_labels(cells: Sequence[_Cell], made: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [channels for each, channels in zip(cells, made, strict=True) for _ in range(each.states)]


def _note_cells(labels: Labels, call: Call, cells: Sequence[_Cell], read: Vector, made: Sequence[np.ndarray]) -> None:
    """Notes the weights and settings of cells that read one another."""
    for each, (before, channels) in zip(cells, pairwise([read, *made]), strict=True):
        assert channels is not None, "only what the first cell reads may have no labels"
        _note_cell(labels, call, each.path, each.cell, before, channels)
        labels.edit(call, each.units, channels)


def _note_cell(
    labels: Labels, call: Call, path: str, cell: Any, read: Vector, channels: np.ndarray, places: int = 1
) -> None:
    """Notes the weights of a cell, `[window..., in, gates * channels]`, and the cost of its steps at each place."""
    for function in (cell.activation, getattr(cell, "recurrent_activation", None)):
        if mixed := mixing_function(function):
            labels.pin(channels, reason=mixed)
    steps = call.inputs[0].shape[1] or 1
    *window, width, gated_channels = cell.kernel.shape
    gated = np.tile(channels, gated_channels // len(channels))
    for weight in ("kernel", "recurrent_kernel", "bias"):
        labels.slot(call, f"{path}.{weight}", -1, gated, "out")
    labels.slot(call, f"{path}.kernel", -2, read, "in")
    labels.slot(call, f"{path}.recurrent_kernel", -2, channels, "in")
    products = steps * places * positions(window)
    labels.cost(call, products * (1 if read is not None else width), read, gated)
    labels.cost(call, products, channels, gated)
