"""Keras layers: faster batch norm, masked kernels, predicted gradients, gates, sub-networks, the table of kernels."""

from tfprune.layers.batch_norm import FrozenBatchNormalization, FusedBatchNormalization
from tfprune.layers.binary_activation import BinaryActivation, binary_activation
from tfprune.layers.channel_masked import ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D
from tfprune.layers.gated import ChannelGate, ScoredBatchNormalization
from tfprune.layers.global_subnet import GlobalSubnet, collapsed_layers, refresh_masks, set_density, subnet_layers
from tfprune.layers.kernels import Kernel, KernelLayer, kernel_layer, register_kernel_layer
from tfprune.layers.masked import (
    Masked,
    MaskedConv1D,
    MaskedConv2D,
    MaskedConv3D,
    MaskedDense,
    MaskedDepthwiseConv2D,
    MaskedWeights,
)
from tfprune.layers.masked_layer import MaskedLayer, unmasked
from tfprune.layers.own_weight import OwnWeight
from tfprune.layers.psg import PSG, PSGConv2D, PSGDense, PSGDepthwiseConv2D
from tfprune.layers.subnet import Subnet, SubnetConv2D, SubnetDense, SubnetDepthwiseConv2D, global_selection

__all__ = [
    "PSG",
    "BinaryActivation",
    "ChannelGate",
    "ChannelMaskedConv2D",
    "ChannelMaskedDense",
    "ChannelMaskedDepthwiseConv2D",
    "FrozenBatchNormalization",
    "FusedBatchNormalization",
    "GlobalSubnet",
    "Kernel",
    "KernelLayer",
    "Masked",
    "MaskedConv1D",
    "MaskedConv2D",
    "MaskedConv3D",
    "MaskedDense",
    "MaskedDepthwiseConv2D",
    "MaskedLayer",
    "MaskedWeights",
    "OwnWeight",
    "PSGConv2D",
    "PSGDense",
    "PSGDepthwiseConv2D",
    "ScoredBatchNormalization",
    "Subnet",
    "SubnetConv2D",
    "SubnetDense",
    "SubnetDepthwiseConv2D",
    "binary_activation",
    "collapsed_layers",
    "global_selection",
    "kernel_layer",
    "refresh_masks",
    "register_kernel_layer",
    "set_density",
    "subnet_layers",
    "unmasked",
]
