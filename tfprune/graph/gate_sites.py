"""Where the gates of channel groups sit in a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.channel_groups import ChannelGroups
from tfprune.graph.layer_channels import PINNED
from tfprune.layers import FusedBatchNormalization


@dataclass(frozen=True, eq=False)
class GateSite:
    """A tensor that gates mask.

    Attributes:
        channels: Channel numbers along its last axis, `PINNED` where there is nothing to mask.
        group: Index of the channel group, if these are the channels of one, all of them, in order.
        tensor: The symbolic tensor, the last one before the channels are read or merged again.
        layer: Name of the layer whose output it is.
    """

    channels: np.ndarray
    group: int | None
    tensor: keras.KerasTensor
    layer: str


def gate_sites(groups: ChannelGroups) -> tuple[GateSite, ...]:
    """Finds the tensors where the channel groups' gates act.

    There is one wherever a kernel reads prunable channels: at the last activation, normalisation or merge before it.
    Pooling, reshaping and depthwise convolutions between the two are passed by. A tensor that only leads into a merge,
    or into a batch norm, has none: the scale of what a batch norm reads does not matter.

    Args:
        groups: The channel groups of a model.

    Returns:
        The sites in call order.

    Reference:
        Lee & Song, EKG (ECCV 2022): gates after batch norm + ReLU, and after a residual sum's ReLU.
    """
    calls = groups.calls
    makers = {id(tensor): call for call in calls for tensor in call.outputs}
    gated: dict[int, keras.KerasTensor] = {}
    for call in calls:
        if any(slot.role == "in" for slot in groups.slots_of(call.name)):
            for tensor in call.inputs:
                if np.any(groups.tensor_channels(tensor) != PINNED):
                    site = _before(tensor, makers, groups)
                    gated[id(site)] = site
    return tuple(_site(call, tensor, groups) for call in calls for tensor in call.outputs if id(tensor) in gated)


def _site(call: Call, tensor: keras.KerasTensor, groups: ChannelGroups) -> GateSite:
    channels = groups.tensor_channels(tensor)
    return GateSite(channels, groups.group_of(channels), tensor, call.name)


_ALONG = (
    keras.layers.BatchNormalization,
    FusedBatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.Dropout,
)


def _before(tensor: keras.KerasTensor, makers: dict[int, Call], groups: ChannelGroups) -> keras.KerasTensor:
    """The tensor at which the gate of what is read at `tensor` sits."""
    call = makers[id(tensor)]
    makes = any(slot.role == "out" for slot in groups.slots_of(call.name))
    if isinstance(call.layer, _ALONG) or makes or len(call.inputs) != 1:
        return tensor
    (before,) = call.inputs
    return _before(before, makers, groups) if np.any(groups.tensor_channels(before) != PINNED) else tensor


def sites_by_group(sites: Sequence[GateSite], groups: ChannelGroups) -> list[list[GateSite]]:
    """The sites of each group, in the order of the groups; sites with channels of several groups belong to none."""
    return [[site for site in sites if site.group == index] for index in range(len(groups))]
