"""Where the gates of channel groups sit in a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroups
from tfprune.layers import FusedBatchNormalization


@dataclass(frozen=True)
class GateSite:
    """A tensor that a gate masks.

    Attributes:
        group: Index of the channel group.
        tensor: The symbolic tensor, the last one before the channels are read or merged again.
        layer: Name of the layer whose output it is.
    """

    group: int
    tensor: keras.KerasTensor
    layer: str


def gate_sites(model: keras.Model, groups: ChannelGroups) -> tuple[GateSite, ...]:
    """Finds the tensors where each channel group's gate acts.

    A chain starts where channels are made (convolution, dense layer) or merged (`Add`) and goes on through layers that
    handle each channel by itself (batch norm, activation, pooling, depthwise convolution). Its gate sits at the last
    activation or normalisation of the chain; but a chain that only leads into a merge has none, the merge's own chain
    has it.

    Args:
        model: A functional model.
        groups: Its channel groups.

    Returns:
        The sites in call order.

    Reference:
        Lee & Song, EKG (ECCV 2022): gates after batch norm + ReLU, and after a residual sum's ReLU.
    """
    calls = model_calls(model)
    readers: dict[int, list[Call]] = {}
    for call in calls:
        for tensor in call.inputs:
            readers.setdefault(id(tensor), []).append(call)
    return tuple(site for call in calls if _starts_chain(call) if (site := _site(call, readers, groups)) is not None)


def _site(start: Call, readers: dict[int, list[Call]], groups: ChannelGroups) -> GateSite | None:
    end = start
    while True:
        group = groups.group_of(groups.tensor_channels(end.outputs[0]))
        following = readers.get(id(end.outputs[0]), [])
        if len(following) == 1 and _goes_along(following[0]):
            end = following[0]
            continue
        if group is None or (following and all(_merges(call) for call in following)):
            return None
        return GateSite(group, end.outputs[0], end.name)


_ALONG = (
    keras.layers.BatchNormalization,
    FusedBatchNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Dropout,
)


def _goes_along(call: Call) -> bool:
    return isinstance(call.layer, _ALONG)


def _merges(call: Call) -> bool:
    return len(call.inputs) > 1


def _starts_chain(call: Call) -> bool:
    return isinstance(call.layer, keras.layers.Conv2D | keras.layers.Dense) or _merges(call)


def sites_by_group(sites: Sequence[GateSite], groups: ChannelGroups) -> list[list[GateSite]]:
    """The sites of each group, in the order of the groups."""
    return [[site for site in sites if site.group == index] for index in range(len(groups))]
