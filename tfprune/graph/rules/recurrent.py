"""Rules for recurrent layers and wrappers: a channel is removed with its gates, its state, and all that reads it."""

from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call, Wrapper
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.lookup import POSITIONS, has_rule_of, mixes, positions, rule, rule_for, takes_one_tensor

layers = keras.layers
_REASON = "no rule for states that are kept, or activations over all channels"
_OVER_CHANNELS = (
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
    keras.layers.GroupNormalization,
)


@rule(layers.SimpleRNN, layers.GRU, layers.LSTM, masks=True)
def _recurrent(labels: Labels, call: Call) -> None:
    if not _plain(call.layer):
        labels.leave_alone(call, _REASON)
        return
    time, read = labels.of(call.inputs[0])
    labels.pin(time, reason=POSITIONS)
    channels = labels.make(call, call.layer.units)
    _cell(labels, call, "cell", read, channels)
    labels.edit(call, "units", channels)
    for index, tensor in enumerate(call.outputs):
        sequence = index == 0 and call.layer.return_sequences
        labels.put(tensor, (None, channels) if sequence else (channels,))


@rule(layers.Bidirectional, masks=True)
def _bidirectional(labels: Labels, call: Call) -> None:
    """Ties the channels of both directions by number, as Keras requires the same number of both."""
    layer: Any = call.layer
    directions = {"forward_layer": layer.forward_layer, "backward_layer": layer.backward_layer}
    known = all(has_rule_of(each, layers.LSTM) for each in directions.values())
    if not known or not all(map(_plain, directions.values())) or len({each.units for each in directions.values()}) > 1:
        labels.leave_alone(call, _REASON if known else "no rule for such layers in two directions")
        return
    time, read = labels.of(call.inputs[0])
    labels.pin(time, reason=POSITIONS)
    channels = labels.make(call, layer.forward_layer.units)
    for name, key in (("forward_layer", "layer"), ("backward_layer", "backward_layer")):
        _cell(labels, call, f"{name}.cell", read, channels)
        labels.edit(call, f"{key}.units", channels)
    merged = np.tile(channels, 2) if layer.merge_mode == "concat" else channels
    for index, tensor in enumerate(call.outputs):
        state = index >= (2 if layer.merge_mode is None else 1)
        made = channels if state else merged
        labels.put(tensor, (made,) if state or not layer.return_sequences else (None, made))


@rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def _conv_lstm(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    if not _plain(layer) or layer.cell.data_format == "channels_first":
        labels.leave_alone(call, f"{_REASON}, or channels before positions")
        return
    *others, read = labels.of(call.inputs[0])
    labels.pin(*others, reason=POSITIONS)
    made = labels.make(call, layer.cell.filters)
    _cell(labels, call, "cell", read, made, places=positions(call.outputs[0].shape[-len(others) : -1]))
    labels.edit(call, "filters", made)
    for tensor in call.outputs:
        labels.put(tensor, (None,) * (len(tensor.shape) - 2) + (made,))


def _plain(layer: Any) -> bool:
    """Returns whether a layer is stateless between batches and computes each channel separately."""
    functions = (layer.cell.activation, getattr(layer.cell, "recurrent_activation", None))
    return not layer.stateful and not any(map(mixes, functions))


def _cell(labels: Labels, call: Call, path: str, read: Vector, channels: np.ndarray, places: int = 1) -> None:
    """Notes the weights of a cell, `[window..., in, gates * channels]`, and the cost of its steps at each place."""
    steps = call.inputs[0].shape[1] or 1
    cell: Any = call.layer
    for name in path.split("."):
        cell = getattr(cell, name)
    *window, width, gated_channels = cell.kernel.shape
    gated = np.tile(channels, gated_channels // len(channels))
    for weight in ("kernel", "recurrent_kernel", "bias"):
        labels.slot(call, f"{path}.{weight}", -1, gated, "out")
    labels.slot(call, f"{path}.kernel", -2, read, "in")
    labels.slot(call, f"{path}.recurrent_kernel", -2, channels, "in")
    products = steps * places * positions(window)
    labels.cost(call, products * (1 if read is not None else width), read, gated)
    labels.cost(call, products, channels, gated)


@rule(keras.layers.TimeDistributed, masks=True)
def _time_distributed(labels: Labels, call: Call) -> None:
    """Applies the rule of the wrapped layer at every point in time."""
    inner: Any = call.layer.layer
    if isinstance(inner, _OVER_CHANNELS) or not takes_one_tensor(inner):
        labels.leave_alone(call, f"no rule for {type(inner).__name__} at each point in time")
        return
    time, *axes = labels.of(call.inputs[0])
    labels.pin(time, reason=POSITIONS)
    source, target = _at_one_time(call.inputs[0]), _at_one_time(call.outputs[0])
    labels.put(source, axes)
    around = Wrapper(call.layer, "layer", call.inputs[0].shape[1] or 1)
    rule_for(inner)(labels, Call(inner, call.name, (source,), (target,), None, around))
    labels.put(call.outputs[0], (None, *labels.of(target)))


def _at_one_time(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.KerasTensor((tensor.shape[0], *tensor.shape[2:]), tensor.dtype)
