"""Rules for pooling, padding, resizing and patches: what mixes positions and leaves channels apart."""

from math import prod
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels
from tfprune.graph.rules.lookup import channel_axis, keep_order, only, pin_all_but, rule
from tfprune.keras_private import image_operations as image
from tfprune.keras_private import nn_operations as nn

layers = keras.layers


@rule(
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.AdaptiveAveragePooling1D, layers.AdaptiveAveragePooling2D, layers.AdaptiveAveragePooling3D),
    *(layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D),
    *(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D),
    *(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D, layers.Resizing),
    *(nn.MaxPool, nn.AveragePool, nn.AdaptiveMaxPool, nn.AdaptiveAveragePool),
)
def _spatial(labels: Labels, call: Call) -> None:
    """Mixes positions, not channels."""
    axis = channel_axis(call.layer, call.inputs[0])
    if call.inputs[0].shape[1 + axis] != call.outputs[0].shape[1 + axis]:
        labels.leave_alone(call, "Keras gives its output another shape than it has")
        return
    channels = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    labels.put(call.outputs[0], only(axis, channels, call.outputs[0]))


@rule(
    *(image.Resize, image.PadImages, image.CropImages, image.GaussianBlur),
    *(image.AffineTransform, image.PerspectiveTransform, image.ElasticTransform),
)
def _images(labels: Labels, call: Call) -> None:
    if len(call.inputs[0].shape) != 4:
        labels.leave_alone(call, "it takes single images, without a batch axis")
    else:
        _spatial(labels, call)


@rule(
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
    masks=True,
)
def _global_pooling(labels: Labels, call: Call) -> None:
    axis = channel_axis(call.layer, call.inputs[0])
    channels = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    (output,) = call.outputs
    labels.put(output, only(axis, channels, output) if call.layer.keepdims else (channels,))


@rule(image.SobelEdges)
def _edges(labels: Labels, call: Call) -> None:
    """Adds an axis for the two directions."""
    if len(call.inputs[0].shape) != 4 or call.layer.data_format == "channels_first":
        labels.leave_alone(call, "it has no rule for channels before positions, or for single images")
        return
    labels.put(call.outputs[0], (None, None, pin_all_but(labels, labels.of(call.inputs[0]), 2), None))


@rule(image.ExtractPatches)
def _patches(labels: Labels, call: Call) -> None:
    """Lays the positions of a window side by side, each with all channels."""
    layer: Any = call.layer
    if len(call.inputs[0].shape) != len(layer.size) + 2 or layer.data_format == "channels_first":
        labels.leave_alone(call, "it has no rule for channels before positions, or for single images")
        return
    channels = pin_all_but(labels, labels.of(call.inputs[0]), len(layer.size))
    made = None if channels is None else np.tile(channels, prod(layer.size))
    labels.put(call.outputs[0], only(len(layer.size), made, call.outputs[0]))


@rule(nn.Unfold)
def _unfold(labels: Labels, call: Call) -> None:
    """Takes channels first, and lays the positions of each channel's window side by side."""
    channels = pin_all_but(labels, labels.of(call.inputs[0]), 0)
    made = None
    if channels is not None:
        made = np.repeat(channels, call.outputs[0].shape[1] // len(channels))
        keep_order(labels, call, made)
    labels.put(call.outputs[0], (made, None))
