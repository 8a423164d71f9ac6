"""How a search divides a model: segments that run one by one, and the sites where gates mask channels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import Call, UnfoldTime
from tfprune.graph.channel_groups import ChannelGroups
from tfprune.graph.labels import PINNED
from tfprune.layers.kernels import named_kernels
from tfprune.reprs import short_repr

_PER_CHANNEL = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.Dropout,
)


@dataclass(frozen=True)
class Segment:
    """A stretch of a model with one input and one output tensor.

    Attributes:
        calls: The calls, producers before consumers.
        input: The symbolic tensor it reads.
        output: The symbolic tensor it produces.
    """

    calls: tuple[Call, ...]
    input: keras.KerasTensor
    output: keras.KerasTensor

    __repr__ = short_repr


def segments(calls: Sequence[Call]) -> tuple[Segment, ...]:
    """Cuts a model with one input and one output wherever a single tensor is all that later calls read.

    Stretches without a kernel are joined to the segment before them. A residual model is cut into its stem, its blocks
    and its classifier.

    Args:
        calls: All calls of a model with one input and one output.

    Returns:
        The segments, in order; each reads the output of the one before it.

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
        if joined and not any(named_kernels(call.layer) for call in piece):
            joined[-1].extend(piece)
        else:
            joined.append(list(piece))
    return joined


@dataclass(frozen=True, eq=False)
class GateSite:
    """A tensor that gates mask.

    Attributes:
        channels: Channel numbers along its last axis, `PINNED` where there is nothing to mask.
        group: Index of the channel group, if these are exactly the channels of one group, in order.
        tensor: The symbolic tensor, the last one before the channels are read or merged again.
        layer: Name of the layer whose output it is.
    """

    channels: np.ndarray
    group: int | None
    tensor: keras.KerasTensor
    layer: str

    __repr__ = short_repr


def gate_sites(groups: ChannelGroups) -> tuple[GateSite, ...]:
    """Finds the tensors where the channel groups' gates act.

    There is one wherever a kernel reads prunable channels: at the last activation, normalization or merge before it,
    ahead of pooling, reshaping and depthwise convolutions. A tensor that only a merge or a batch norm reads has none:
    the scale of the inputs of a batch norm has no effect.

    Args:
        groups: The channel groups of a model.

    Returns:
        The sites in call order.

    Reference:
        Lee & Song, EKG (ECCV 2022): gates after batch norm + ReLU, and after a residual sum's ReLU.
    """
    calls = groups.calls
    producers = {id(tensor): call for call in calls for tensor in call.outputs}
    gated: dict[int, keras.KerasTensor] = {}
    for call in calls:
        if any(slot.role == "in" for slot in groups.slots_of(call.name)):
            for tensor in call.inputs:
                if np.any(groups.tensor_channels(tensor) != PINNED):
                    site = _before(tensor, producers, groups)
                    gated[id(site)] = site
    return tuple(_site(call, tensor, groups) for call in calls for tensor in call.outputs if id(tensor) in gated)


def _site(call: Call, tensor: keras.KerasTensor, groups: ChannelGroups) -> GateSite:
    channels = groups.tensor_channels(tensor)
    return GateSite(channels, groups.group_of(channels), tensor, call.name)


def _before(tensor: keras.KerasTensor, producers: dict[int, Call], groups: ChannelGroups) -> keras.KerasTensor:
    """Returns the tensor at which the gate acts of the channels that are read at `tensor`."""
    call = producers[id(tensor)]
    produces = any(slot.role == "out" for slot in groups.slots_of(call.name))
    one = len(call.inputs) == 1 or isinstance(call.layer, UnfoldTime)
    if isinstance(call.layer, _PER_CHANNEL) or produces or not one:
        return tensor
    before = call.inputs[0]
    return _before(before, producers, groups) if np.any(groups.tensor_channels(before) != PINNED) else tensor


def sites_by_group(sites: Sequence[GateSite], groups: ChannelGroups) -> list[list[GateSite]]:
    """Returns the sites of each group, in the order of the groups; sites with channels of several groups have none."""
    return [[site for site in sites if site.group == index] for index in range(len(groups))]
