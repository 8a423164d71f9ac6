"""Keras layers: faster batch norm, masked kernels, gates."""

from tfprune.layers.binary_activation import BinaryActivation, binary_activation
from tfprune.layers.channel_gate import ChannelGate
from tfprune.layers.channel_masked_conv2d import ChannelMaskedConv2D
from tfprune.layers.channel_masked_dense import ChannelMaskedDense
from tfprune.layers.channel_masked_depthwise_conv2d import ChannelMaskedDepthwiseConv2D
from tfprune.layers.frozen_batch_normalization import FrozenBatchNormalization
from tfprune.layers.fused_batch_normalization import FusedBatchNormalization
from tfprune.layers.global_subnet import GlobalSubnet
from tfprune.layers.masked_conv1d import MaskedConv1D
from tfprune.layers.masked_conv2d import MaskedConv2D
from tfprune.layers.masked_conv3d import MaskedConv3D
from tfprune.layers.masked_dense import MaskedDense
from tfprune.layers.masked_depthwise_conv2d import MaskedDepthwiseConv2D
from tfprune.layers.masked_weights import MaskedWeights
from tfprune.layers.psg import PSG
from tfprune.layers.psg_conv2d import PSGConv2D
from tfprune.layers.psg_dense import PSGDense
from tfprune.layers.psg_depthwise_conv2d import PSGDepthwiseConv2D
from tfprune.layers.scored_batch_normalization import ScoredBatchNormalization
from tfprune.layers.subnet import Subnet
from tfprune.layers.subnet_conv2d import SubnetConv2D
from tfprune.layers.subnet_dense import SubnetDense
from tfprune.layers.subnet_depthwise_conv2d import SubnetDepthwiseConv2D
from tfprune.layers.subnet_masks import collapsed_layers, refresh_masks, set_density, subnet_layers
from tfprune.layers.subnet_scope import global_selection

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
    "MaskedConv1D",
    "MaskedConv2D",
    "MaskedConv3D",
    "MaskedDense",
    "MaskedDepthwiseConv2D",
    "MaskedWeights",
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
    "refresh_masks",
    "set_density",
    "subnet_layers",
]
