"""Cuts a model into segments that hand on a single tensor, so that what lies before a change need not be recomputed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import Call


@dataclass(frozen=True)
class Segment:
    """A stretch of a model with one input and one output tensor.

    Attributes:
        calls: The calls, producers before consumers.
        input: The symbolic tensor it reads.
        output: The symbolic tensor it makes.
    """

    calls: tuple[Call, ...]
    input: keras.KerasTensor
    output: keras.KerasTensor


def segments(calls: Sequence[Call]) -> tuple[Segment, ...]:
    """Cuts a model with one input and one output wherever a single tensor carries everything on.

    Stretches without a kernel are joined to the segment before them. A residual network falls into its stem, its blocks
    and its classifier.

    Args:
        calls: All calls of a model with one input and one output.

    Returns:
        The segments, in order; each reads what the one before it makes.

    Raises:
        UnsupportedLayerError: The model has several inputs or outputs.
    """
    input_call, *calls = calls
    uses: dict[int, int] = {}
    for call in calls:
        for tensor in call.inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    unread = [tensor for call in calls for tensor in call.outputs if id(tensor) not in uses]
    if len(unread) != 1 or any(isinstance(call.layer, keras.layers.InputLayer) for call in calls):
        raise UnsupportedLayerError("expected a model with one input and one output, received one with several")
    live = {id(input_call.outputs[0])}
    pieces: list[list[Call]] = [[]]
    for call in calls:
        pieces[-1].append(call)
        live.update(id(tensor) for tensor in call.outputs)
        for tensor in call.inputs:
            uses[id(tensor)] -= 1
            if uses[id(tensor)] == 0:
                live.discard(id(tensor))
        if live == {id(call.outputs[0])}:
            pieces.append([])
    joined = _join(piece for piece in pieces if piece)
    starts = [input_call.outputs[0], *(piece[-1].outputs[0] for piece in joined)]
    return tuple(
        Segment(tuple(piece), start, piece[-1].outputs[0]) for piece, start in zip(joined, starts, strict=False)
    )


def _join(pieces: Iterable[list[Call]]) -> list[list[Call]]:
    joined: list[list[Call]] = []
    for piece in pieces:
        if joined and not any(_has_kernel(call) for call in piece):
            joined[-1].extend(piece)
        else:
            joined.append(list(piece))
    return joined


def _has_kernel(call: Call) -> bool:
    return hasattr(call.layer, "kernel") or hasattr(call.layer, "pointwise_kernel")
