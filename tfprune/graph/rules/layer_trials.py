"""Trials of layers at other widths: how a layer without a rule treats channels.

A layer is made again from its configuration, at its own and at other widths, and computes on random weights and inputs.
What it does with channels follows from how the results depend on one another:

- *separate*: some channels of the input give the same channels of the result.
- *normalized*: as LayerNormalization does; each vector of channels is scaled and shifted by statistics of its own.
- *product*: as a dense layer or an embedding does. Channels of the input count for nothing where weights are zero, or
  some channels of the result depend on their own slices of the weights, and a setting is their number; or both.

Errors, randomness and kept state fail. Nothing of the user's layer changes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import keras

from tfprune.graph.calls import Call
from tfprune.graph.layer_copies import configuration, random_state_kept, remade_layer, why_not_remade
from tfprune.graph.rules.probing import channel_axis
from tfprune.graph.rules.trial import Trial, constants_as_text
from tfprune.graph.traced_cost import traced_flops

_MOST_VALUES = 4096
_MOST_WEIGHTS = 2**25

Weights = tuple[tuple[str, int], ...]
"""Axes of weights, as `(weight, axis)`, negative axes."""

_layers: "WeakKeyDictionary[Any, dict[Any, Treatment | None]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Side:
    """The channels of the input or of the output of a layer.

    Attributes:
        axis: Their axis, batch axis included.
        width: Their number.
        weights: Axes of weights that have one entry per channel.
        settings: The settings that are their number.
    """

    axis: int
    width: int
    weights: Weights = ()
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Treatment:
    """How a layer that was tried treats channels.

    Attributes:
        kind: `separate`, `normalized` or `product`, see the module.
        reads: The channels of its only input; None if those of its inputs cannot be removed.
        makes: The channels of its output; None if they cannot be removed. Where they are those of the input, weights
            and settings are noted here.
        cost: Multiply-adds for one example, as `(constant, per channel read, per channel made, per pair of these)`;
            None if they are not known.
    """

    kind: str
    reads: Side | None
    makes: Side | None
    cost: tuple[int, int, int, int] | None = (0, 0, 0, 0)


def tried(call: Call) -> Treatment | None:
    """Tries a layer at other widths; none of its own state or weights is touched.

    Args:
        call: A call of any layer or operation.

    Returns:
        How the layer treats channels; None if it does so in another way, or if Keras cannot make it at another width.
    """
    layer: Any = call.layer
    if not isinstance(layer, keras.Layer) or not call.inputs or len(call.outputs) != 1:
        return None
    known = _layers.setdefault(layer, {})
    key = (tuple((tensor.shape, tensor.dtype) for tensor in call.inputs), constants_as_text(call))
    if key not in known:
        with random_state_kept(), warnings.catch_warnings(action="ignore"):
            why_not_remade(layer)  # finds out how; where it cannot be, its channels will stay for that reason
            try:
                known[key] = _followed(layer, call) or _product(layer, call)
            except Exception:  # the layer's own code may fail in any way at another width
                known[key] = None
    return known[key]


def _followed(layer: Any, call: Call) -> Treatment | None:
    """Tries a layer of one tensor whose result has the channels of that."""
    read = _channels_read(layer, call)
    made = 1 + channel_axis(layer, call.outputs[0])
    if read is None or made < 1 or call.outputs[0].shape[made] != read.width:
        return None
    if any(prod(weight.shape) > _MOST_VALUES * read.width for weight in layer.weights):
        return None
    if read.width == 1:
        return Treatment("separate", read, Side(made, 1))  # the only channel is never removed
    settings = _settings(layer, read.width)
    for chosen in ((), *settings) if len(settings) == 1 else ((),):
        for kind in ("separate", "normalized"):
            trial = Trial(layer, call, read.width, chosen, reads=read.axis, made=made)
            axes = trial.separate_axes() if kind == "separate" else trial.normalized_axes()
            if axes is not None:
                makes = Side(made, read.width, trial.paths(axes), chosen)
                free = all(prod(weight.shape) <= read.width for weight in layer.weights)  # it multiplies single values
                return Treatment(kind, read, makes, (0, 0, 0, 0) if free else _cost(call, None, makes, read.axis))
    return None


def _channels_read(layer: Any, call: Call) -> Side | None:
    """Returns the channels of the only input."""
    tensor = call.inputs[0]
    axis = 1 + channel_axis(layer, tensor)
    if len(call.inputs) > 1 or axis < 1 or not keras.backend.is_float_dtype(tensor.dtype) or tensor.shape[axis] is None:
        return None
    return Side(axis, tensor.shape[axis])


def _product(layer: Any, call: Call) -> Treatment | None:
    """Tries a layer that reads channels, or has channels of its own along the last axis or where images have them."""
    if not layer.weights or sum(prod(weight.shape) for weight in layer.weights) > _MOST_WEIGHTS:
        return None
    output = call.outputs[0]
    read, own = _channels_read(layer, call), None
    if read is not None:
        read = _passed(layer, call, read, [(), *_settings(layer, read.width)], reads=read.axis)
    for made in dict.fromkeys((len(output.shape) - 1, 1 + channel_axis(layer, output))):
        width = (made > 0 and output.shape[made]) or 1
        own = own or _passed(layer, call, Side(made, width), _settings(layer, width), made=made)
    if (read is None and own is None) or (
        read and own and set(read.weights + read.settings) & set(own.weights + own.settings)
    ):
        return None
    return Treatment("product", read, own, _cost(call, read, own))


def _passed(
    layer: Any,
    call: Call,
    side: Side,
    settings: list[tuple[str, ...]],
    *,
    reads: int | None = None,
    made: int | None = None,
) -> Side | None:
    """Returns what the channels on a side depend on; None if no trial passes, or if several settings do as well."""
    found = []
    for chosen in settings if side.width > 1 else ():
        trial = Trial(layer, call, side.width, chosen, reads=reads, made=made)
        axes = trial.read_axes() if made is None else trial.separate_axes()
        if axes or (axes is not None and not chosen):
            found.append(replace(side, weights=trial.paths(axes), settings=chosen))
            if not chosen:
                break
    return found[0] if len(found) == 1 else None


def _set_to(value: int, old: Any) -> int:
    return value


def _settings(layer: Any, width: int) -> list[tuple[str, ...]]:
    """Returns the settings that have a value."""
    return [(key,) for key, value in configuration(layer).items() if type(value) is int and value == width]


def _cost(
    call: Call, read: Side | None, made: Side | None, follows: int | None = None
) -> tuple[int, int, int, int] | None:
    """Counts multiply-adds at some widths; None if they are no product of these, or cannot be counted.

    Args:
        call: The call.
        read: The channels of the input that can be removed by themselves.
        made: Those of the output.
        follows: The axis of the input that has the channels of the output.
    """

    def flops(reading: int, making: int) -> int | None:
        sizes = {} if read is None else {read.axis: reading}
        sizes |= {} if follows is None else {follows: making}
        changes: dict[str, Callable[[Any], Any]] = {}
        for side, count in ((read, reading), (made, making)):
            changes |= {} if side is None else dict.fromkeys(side.settings, partial(_set_to, count))
        tensors = [
            keras.KerasTensor([sizes.get(axis, size) for axis, size in enumerate(tensor.shape)], tensor.dtype)
            for tensor in call.inputs
        ]
        zeros = {
            id(tensor): keras.ops.zeros([size or 1 for size in new.shape], tensor.dtype)
            for tensor, new in zip(call.inputs, tensors, strict=True)
        }
        layer = remade_layer(call.layer, changes)
        arguments, named = call.arguments(zeros)
        layer(*arguments, **named)  # builds it
        return traced_flops(replace(call, layer=layer, inputs=tuple(tensors), times=1))

    reading, making = (1 if side is None else side.width for side in (read, made))
    fewer, less = max(1, reading // 2), max(1, making // 2)
    corners = {pair: flops(*pair) for pair in ((reading, making), (fewer, making), (reading, less), (fewer, less))}
    between = (max(1, reading - 1), max(1, making - 1))
    corners.setdefault(between, flops(*between))
    known = {pair: count for pair, count in corners.items() if count is not None}
    if len(known) < len(corners):
        return None
    whole, without_reads = known[reading, making], known[fewer, making]
    without_makes, least = known[reading, less], known[fewer, less]
    steps = (reading - fewer or 1, making - less or 1)
    pair = (whole - without_reads - without_makes + least) // (steps[0] * steps[1])
    each_read = (whole - without_reads) // steps[0] - pair * making * (reading > fewer)
    each_made = (whole - without_makes) // steps[1] - pair * reading * (making > less)
    constant = whole - each_read * reading - each_made * making - pair * reading * making
    same = all(
        count == constant + each_read * one + each_made * other + pair * one * other
        for (one, other), count in known.items()
    )
    return (constant, each_read, each_made, pair) if same else None
