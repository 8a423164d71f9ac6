"""Reading and rewriting functional models: channel groups, cost, layer swaps, slimming."""

from tfprune.graph.calls import Call, model_calls
from tfprune.graph.channel_groups import ChannelGroup, ChannelGroups, channel_groups
from tfprune.graph.complexity import Complexity, CostModel, LayerComplexity, complexity
from tfprune.graph.convert import FAMILIES, convert, swap_layer
from tfprune.graph.copied_layer import configuration, copied_layer
from tfprune.graph.execute import averages_channels, executable_groups, execute
from tfprune.graph.gate_sites import GateSite, gate_sites, sites_by_group
from tfprune.graph.kernel_reads import KernelReads
from tfprune.graph.labels import Labels
from tfprune.graph.layer_channels import PINNED, Cost, Edit, LayerChannels, Slot
from tfprune.graph.main_path_order import adds_branches, main_path_order
from tfprune.graph.masked import masked
from tfprune.graph.prunable_weights import prunable_weights
from tfprune.graph.rebuild import rebuild
from tfprune.graph.rules import register_rule
from tfprune.graph.segments import Segment, segments
from tfprune.graph.slim import slim
from tfprune.graph.slim_weights import ALIGNMENT, SlimWeights
from tfprune.graph.weight_masks import MASKED_FAMILIES, masks_of

__all__ = [
    "ALIGNMENT",
    "FAMILIES",
    "MASKED_FAMILIES",
    "PINNED",
    "Call",
    "ChannelGroup",
    "ChannelGroups",
    "Complexity",
    "Cost",
    "CostModel",
    "Edit",
    "GateSite",
    "KernelReads",
    "Labels",
    "LayerChannels",
    "LayerComplexity",
    "Segment",
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
    "gate_sites",
    "main_path_order",
    "masked",
    "masks_of",
    "model_calls",
    "prunable_weights",
    "rebuild",
    "register_rule",
    "segments",
    "sites_by_group",
    "slim",
    "swap_layer",
]
