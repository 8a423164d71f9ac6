"""Reading and rewriting functional models: calls, channel groups, residual blocks, costs, layer swaps, slimming."""

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroup, ChannelGroups, channel_groups
from tfprune.graph.convert import LAYER_TYPES, Match, convert, mask_variables, masks_of, swap_layer
from tfprune.graph.cost import Complexity, CostModel, LayerComplexity, complexity
from tfprune.graph.execute import Forward, averages_channels, executable_groups, execute
from tfprune.graph.kernel_reads import KernelReads
from tfprune.graph.labels import PINNED, Cost, Edit, Labels, LayerChannels, Slot
from tfprune.graph.layer_copies import configuration, copied_layer
from tfprune.graph.left_alone import Held, LeftAlone
from tfprune.graph.masked import masked
from tfprune.graph.model_class import ModelClassWarning
from tfprune.graph.prunable_weights import (
    adds_branches,
    kernels_of_copy,
    main_path_order,
    prunable_weights,
    unpruned_weights,
)
from tfprune.graph.rebuild import SharedWeightsWarning, rebuild
from tfprune.graph.residual_blocks import ResidualBlock, residual_blocks, without_blocks
from tfprune.graph.rules import register_rule
from tfprune.graph.segments import GateSite, Segment, gate_sites, segments, sites_by_group
from tfprune.graph.slim import ALIGNMENT, SlimWeights, slim
from tfprune.graph.subclassed import functional_model

__all__ = [
    "ALIGNMENT",
    "LAYER_TYPES",
    "PINNED",
    "Call",
    "ChannelGroup",
    "ChannelGroups",
    "Complexity",
    "Cost",
    "CostModel",
    "Edit",
    "Forward",
    "GateSite",
    "Held",
    "KernelReads",
    "Labels",
    "LayerChannels",
    "LayerComplexity",
    "LeftAlone",
    "Match",
    "ModelClassWarning",
    "ResidualBlock",
    "Segment",
    "SharedWeightsWarning",
    "SlimWeights",
    "Slot",
    "adds_branches",
    "averages_channels",
    "channel_groups",
    "complexity",
    "configuration",
    "convert",
    "copied_layer",
    "executable_groups",
    "execute",
    "functional_model",
    "gate_sites",
    "kernels_of_copy",
    "main_path_order",
    "mask_variables",
    "masked",
    "masks_of",
    "model_calls",
    "prunable_weights",
    "rebuild",
    "register_rule",
    "residual_blocks",
    "segments",
    "sites_by_group",
    "slim",
    "swap_layer",
    "unpruned_weights",
    "without_blocks",
]
