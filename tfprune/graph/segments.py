"""Cuts a model into segments that hand on a single tensor, so that what lies before a change need not be recomputed."""

from collections.abc import Iterable
from dataclasses import dataclass

import keras

from tfprune.graph.calls import Call, model_calls


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


def segments(model: keras.Model) -> tuple[Segment, ...]:
    """Cuts a model with one input and one output wherever a single tensor carries everything on.

    Stretches without a kernel are joined to the segment before them. A residual network falls into its stem, its blocks
    and its classifier.

    Args:
        model: A functional or sequential model with one input and one output.

    Returns:
        The segments, in order; each reads what the one before it makes.
    """
    input_call, *calls = model_calls(model)
    uses: dict[int, int] = {}
    for call in calls:
        for tensor in call.inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
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
        if joined and not any(hasattr(call.layer, "kernel") for call in piece):
            joined[-1].extend(piece)
        else:
            joined.append(list(piece))
    return joined
