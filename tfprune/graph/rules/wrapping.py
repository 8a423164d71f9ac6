"""Rules for layers around another layer: `TimeDistributed` and `SpectralNormalization`."""

from dataclasses import replace
from typing import Any

import keras

from tfprune.graph.calls import Call, FoldTime, UnfoldTime, Wrapper, timed_graph
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import MASKED, POSITIONS, has_rule_of, rule, rule_for, takes_one_tensor

layers = keras.layers
_RECURRENT = (layers.RNN, layers.Bidirectional)


@rule(layers.TimeDistributed, masks=True)
def _time_distributed(labels: Labels, call: Call) -> None:
    """Applies the rule of the wrapped layer at every point in time; a model there is opened before (`FoldTime`)."""
    inner: Any = call.layer.layer
    known = takes_one_tensor(inner) or any(has_rule_of(inner, kind) for kind in _RECURRENT)
    if not known:
        labels.leave_alone(call, f"no rule for {_described(call)} at each point in time")
        return
    time, *axes = labels.of(call.inputs[0])
    labels.pin(time, reason=POSITIONS)
    source, target = _at_one_time(call.inputs[0]), _at_one_time(call.outputs[0])
    labels.put(source, axes)
    times = call.times * (call.inputs[0].shape[1] or 1)
    rule_for(inner)(labels, Call(inner, call.name, (source,), (target,), None, _around(call), times))
    labels.put(call.outputs[0], (None, *labels.of(target)))


def _described(call: Call) -> str:
    """Returns what a layer applies that its rule does not know."""
    layer: Any = call.layer
    if timed_graph(layer) is None:
        return type(layer.layer).__name__
    return "models with masks" if len(call.inputs) > 1 else "models with states, or several inputs or outputs,"


def _around(call: Call) -> Wrapper:
    """Returns the wrapper of the layer within a wrapping one."""
    return (
        Wrapper(call.layer, "layer")
        if call.wrapper is None
        else replace(call.wrapper, path=f"{call.wrapper.path}.layer")
    )


def _at_one_time(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.KerasTensor((tensor.shape[0], *tensor.shape[2:]), tensor.dtype)


@rule(FoldTime)
def _fold_time(labels: Labels, call: Call) -> None:
    time, *axes = labels.of(call.inputs[0])
    labels.pin(time, reason=POSITIONS)
    labels.put(call.outputs[0], axes)


@rule(UnfoldTime, several=True)
def _unfold_time(labels: Labels, call: Call) -> None:
    for mask in call.inputs[2:]:
        labels.pin(*labels.of(mask), reason=MASKED)
    labels.put(call.outputs[0], (None, *labels.of(call.inputs[0])))


@rule(layers.SpectralNormalization)
def _spectral_normalization(labels: Labels, call: Call) -> None:
    """Applies the rule of the wrapped layer; the singular vector has an entry for each position of the last axis.

    In inference the wrapped layer computes with its kernel as it is. In training the smaller kernel is divided by its
    own largest singular value.
    """
    inner: Any = call.layer.layer
    if not takes_one_tensor(inner):
        labels.leave_alone(call, f"no rule for {type(inner).__name__} with a normalized kernel")
        return
    around = _around(call)
    rule_for(inner)(labels, Call(inner, call.name, call.inputs, call.outputs, None, around, call.times))
    slots = labels.record(call).slots
    for weight in ("kernel", "embeddings"):
        last = (f"{around.path}.{weight}", -1)
        if last in slots:
            labels.slot(call, "vector_u", -1, slots[last][0], "pass")
