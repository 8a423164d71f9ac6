"""Trials of layers at other widths: how a layer without a rule treats channels.

A layer is made again from its configuration, at its own and at other widths, and computes on random weights and inputs.
What it does with channels follows from how the results depend on one another:

- *separate*: some channels of the input give the same channels of the result.
- *normalized*: as LayerNormalization does; each vector of channels is scaled and shifted by statistics of its own.
- *product*: as a dense layer, an embedding, or several of them do. Channels of the input, or within the layer, count
  for nothing where the weights that read them are zero; channels of the result depend on their own slices of weights.

Errors, randomness and kept state fail. Nothing of the user's layer changes.
"""

import warnings
from collections.abc import Callable, Sequence
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
_MOST_WIDTHS = 4

_layers: "WeakKeyDictionary[Any, dict[Any, Treatment | None]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Width:
    """A number of channels that a layer depends on.

    Attributes:
        count: The number.
        reads: Their axis in the only input, batch axis included; None if they are not channels of that.
        makes: Their axis in the output; None if they are not channels of that.
        settings: The settings that are their number.
        weights: Axes of weights that have one entry per channel, as `(weight, axis, role)`, see `labels.Slot`.
    """

    count: int
    reads: int | None = None
    makes: int | None = None
    settings: tuple[str, ...] = ()
    weights: tuple[tuple[str, int, str], ...] = ()


@dataclass(frozen=True)
class Treatment:
    """How a layer that was tried treats channels.

    Attributes:
        kind: `separate`, `normalized` or `product`, see the module.
        widths: The numbers of channels that can change. A `separate` or `normalized` layer has one.
        cost: Multiply-adds for one example: a sum of terms, a constant times the product of some of `widths`, which are
            given by index. None if they are not known.
    """

    kind: str
    widths: tuple[Width, ...]
    cost: tuple[tuple[int, tuple[int, ...]], ...] | None = ()

    def width(self, end: str) -> Width | None:
        """Returns the width of the input (`reads`) or of the output (`makes`), if that can change."""
        return next((each for each in self.widths if getattr(each, end) is not None), None)


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
            why_not_remade(
                layer, call.node
            )  # finds out how; where it cannot be, its channels will stay for that reason
            try:
                known[key] = _followed(layer, call) or _product(layer, call)
            except Exception:  # the layer's own code may fail in any way at another width
                known[key] = None
    return known[key]


def _followed(layer: Any, call: Call) -> Treatment | None:
    """Tries a layer of one tensor whose result has the channels of that."""
    read = _channels_read(layer, call)
    made = 1 + channel_axis(layer, call.outputs[0])
    if read is None or made < 1 or call.outputs[0].shape[made] != read.count:
        return None
    if any(prod(weight.shape) > _MOST_VALUES * read.count for weight in layer.weights):
        return None
    width = replace(read, makes=made)
    if width.count == 1:
        return Treatment("separate", (width,))  # the only channel is never removed
    settings = _settings(layer, width.count)
    for chosen in ((), *settings) if len(settings) == 1 else ((),):
        for kind in ("separate", "normalized"):
            trial = Trial(layer, call, width.count, chosen, reads=width.reads, made=made)
            axes = trial.separate_axes() if kind == "separate" else trial.normalized_axes()
            if axes is not None:
                found = replace(width, settings=chosen, weights=trial.slots(axes, dict.fromkeys(axes, "pass")))
                free = all(prod(weight.shape) <= width.count for weight in layer.weights)  # it multiplies single values
                return Treatment(kind, (found,), () if free else _cost(call, (found,)))
    return None


def _channels_read(layer: Any, call: Call) -> Width | None:
    """Returns the channels of the only input."""
    tensor = call.inputs[0]
    axis = 1 + channel_axis(layer, tensor)
    if len(call.inputs) > 1 or axis < 1 or not keras.backend.is_float_dtype(tensor.dtype) or tensor.shape[axis] is None:
        return None
    return Width(tensor.shape[axis], reads=axis)


def _product(layer: Any, call: Call) -> Treatment | None:
    """Tries a layer for channels that it reads, that it makes, for the same on both ends, and for those within it.

    The result has channels along the last axis, or where images have them.
    """
    if not layer.weights or sum(prod(weight.shape) for weight in layer.weights) > _MOST_WEIGHTS:
        return None
    output = call.outputs[0]
    read = _channels_read(layer, call)
    made = [
        Width(output.shape[axis], makes=axis)
        for axis in dict.fromkeys((len(output.shape) - 1, 1 + channel_axis(layer, output)))
        if axis > 0 and output.shape[axis] is not None
    ]
    ends = [found for each in ([read] if read else []) if (found := _passed(layer, call, each, inferred=True))]
    ends += [found for each in made if (found := _passed(layer, call, each))][:1]
    if not ends and read is not None:
        both = [replace(read, makes=each.makes) for each in made if each.count == read.count]
        ends = [found for each in both if (found := _passed(layer, call, each))][:1]
    taken = {setting for each in ends for setting in each.settings}
    numbers = {key: value for key, value in configuration(layer).items() if type(value) is int and key not in taken}
    inner = [_passed(layer, call, Width(value), only=(key,)) for key, value in numbers.items()]
    widths = tuple(each for each in (*ends, *inner) if each is not None)
    slots = [slot[:2] for each in widths for slot in each.weights]
    if not widths or len(set(slots)) < len(slots) or len(widths) > _MOST_WIDTHS:
        return None
    return Treatment("product", widths, _cost(call, widths))


def _passed(
    layer: Any, call: Call, width: Width, *, inferred: bool = False, only: tuple[str, ...] | None = None
) -> Width | None:
    """Returns what channels depend on; None if no trial passes, or if several settings do as well.

    Args:
        layer: The layer.
        call: A call of it.
        width: The channels.
        inferred: Whether the layer may find out their number without a setting.
        only: The setting, if there is one to try.
    """
    settings = _settings(layer, width.count) if only is None else [only]
    found = []
    for chosen in (*([()] if inferred else []), *settings) if width.count > 1 else ():
        trial = Trial(layer, call, width.count, chosen, reads=width.reads, made=width.makes)
        makes_only = width.reads is None and width.makes is not None
        axes = trial.separate_axes() if makes_only else trial.read_axes()
        if axes or (axes is not None and not chosen):
            roles = dict.fromkeys(axes, "out") if makes_only else trial.roles(axes)
            found.append(replace(width, settings=chosen, weights=trial.slots(axes, roles)))
            if not chosen:
                break
    return found[0] if len(found) == 1 else None


def _settings(layer: Any, width: int) -> list[tuple[str, ...]]:
    """Returns the settings that have a value."""
    return [(key,) for key, value in configuration(layer).items() if type(value) is int and value == width]


def _cost(call: Call, widths: Sequence[Width]) -> tuple[tuple[int, tuple[int, ...]], ...] | None:
    """Counts multiply-adds at some widths; None if they are no polynomial of these, or cannot be counted."""

    def flops(counts: tuple[int, ...]) -> int:
        sizes = {width.reads: count for width, count in zip(widths, counts, strict=True) if width.reads is not None}
        changes: dict[str, Callable[[Any], Any]] = {}
        for width, count in zip(widths, counts, strict=True):
            changes |= dict.fromkeys(width.settings, partial(_set_to, count))
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
        found = traced_flops(replace(call, layer=layer, inputs=tuple(tensors), times=1))
        if found is None:
            raise ValueError
        return found

    def terms(before: tuple[int, ...], after: tuple[int, ...]) -> dict[tuple[int, ...], int]:
        """Returns the terms for the other widths, where some are fixed."""
        if not after:
            return {(): flops(before)}
        many, few = after[0], max(1, after[0] // 2)
        high, low = (terms((*before, count), after[1:]) for count in (many, few))
        slopes = {key: (high[key] - low[key]) // max(1, many - few) for key in high}
        own = len(before)
        return {key: high[key] - slopes[key] * many for key in high} | {(own, *key): slopes[key] for key in high}

    counts = tuple(width.count for width in widths)
    tests = (counts, tuple(max(1, count - 1) for count in counts), tuple(max(1, count // 2) for count in counts))
    try:
        found = terms((), counts)
        sums = [sum(value * prod(test[index] for index in key) for key, value in found.items()) for test in tests]
        right = sums == [flops(test) for test in tests]
    except ValueError:
        return None
    return tuple((value, key) for key, value in found.items() if value) if right else None


def _set_to(value: int, old: Any) -> int:
    return value
