"""Layers that apply another layer at each point in time."""

from typing import Any

import keras

from tfprune.graph.calls import Call, Wrapper
from tfprune.graph.labels import Labels
from tfprune.graph.rules.registry import rule, rule_for, takes_one_tensor

_OVER_CHANNELS = (
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
    keras.layers.GroupNormalization,
)


@rule(keras.layers.TimeDistributed, masks=True)
def _time_distributed(labels: Labels, call: Call) -> None:
    """What the rule of the wrapped layer says, at every point in time."""
    inner: Any = call.layer.layer
    if isinstance(inner, _OVER_CHANNELS) or not takes_one_tensor(inner):
        labels.leave_alone(call, f"no rule for {type(inner).__name__} at each point in time")
        return
    time, *axes = labels.of(call.inputs[0])
    labels.pin(time)
    source, target = _at_one_time(call.inputs[0]), _at_one_time(call.outputs[0])
    labels.put(source, axes)
    around = Wrapper(call.layer, "layer", call.inputs[0].shape[1] or 1)
    rule_for(inner)(labels, Call(inner, call.name, (source,), (target,), None, around))
    labels.put(call.outputs[0], (None, *labels.of(target)))


def _at_one_time(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.KerasTensor((tensor.shape[0], *tensor.shape[2:]), tensor.dtype)
