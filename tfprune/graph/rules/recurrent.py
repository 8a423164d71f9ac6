"""Recurrent layers: a unit goes with its gates, its state, and all that reads it."""

from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.axes import mixes
from tfprune.graph.rules.registry import rule

layers = keras.layers

_GATES: dict[type, int] = {layers.SimpleRNN: 1, layers.GRU: 3, layers.LSTM: 4}


@rule(*_GATES, masks=True)
def _recurrent(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    mixing = mixes(layer.activation) or mixes(getattr(layer, "recurrent_activation", None))
    if layer.stateful or mixing:
        labels.leave_alone(call, "no rule for states that are kept, or activations over all units")
        return
    time, read = labels.of(call.inputs[0])
    labels.pin(time)
    units = labels.make(call, layer.units)
    gates = next(count for kind, count in _GATES.items() if isinstance(layer, kind))
    gated = np.tile(units, gates)
    for weight in ("kernel", "recurrent_kernel", "bias"):
        labels.slot(call, f"cell.{weight}", -1, gated, "out")
    labels.slot(call, "cell.kernel", -2, read, "in")
    labels.slot(call, "cell.recurrent_kernel", -2, units, "in")
    labels.edit(call, "units", units)
    steps, width = call.inputs[0].shape[1:]
    labels.cost(call, (steps or 1) * (1 if read is not None else width), read, gated)
    labels.cost(call, steps or 1, units, gated)
    for index, tensor in enumerate(call.outputs):
        sequence = index == 0 and layer.return_sequences
        labels.put(tensor, (None, units) if sequence else (units,))
