"""Rules for layers that produce channels: convolutions, dense layers, embeddings."""

from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.opening import Weight
from tfprune.graph.rules.lookup import (
    channel_axis,
    extent,
    mixing_activation,
    named_arguments,
    only,
    pin_all_but,
    positions,
    rule,
)

layers = keras.layers
_MISTAKEN_BIAS = (
    "Keras adds its bias along the wrong axis where that has as many channels as the last axis has positions"
)


@rule(layers.InputLayer, several=True)
def _input(labels: Labels, call: Call) -> None:
    for tensor in call.outputs:
        labels.put(tensor, (None,) * (len(tensor.shape) - 1))


@rule(Weight, several=True)
def _weight(labels: Labels, call: Call) -> None:
    """Gives labels to all axes of a weight that an opened layer uses itself: they go with what they meet."""
    (output,) = call.outputs
    axes = [labels.fresh(size) if size > 1 else None for size in output.shape]
    for axis, vector in enumerate(axes, start=-len(axes)):
        if vector is not None:
            labels.slot(call, "variable", axis, vector, "pass")
    labels.put_axes(output, axes)


@rule(layers.Dense)
def _dense(labels: Labels, call: Call) -> None:
    *outer, read = labels.of(call.inputs[0])
    produced = labels.make(call, call.layer.units)
    labels.slot(call, "kernel", -2, read, "in")
    labels.slot(call, "kernel", -1, produced, "out")
    labels.slot(call, "bias", -1, produced, "out")
    labels.edit(call, "units", produced)
    sizes = call.inputs[0].shape[1:-1]
    constant = extent(tuple(outer), sizes) * (1 if read is not None else call.inputs[0].shape[-1])
    labels.cost(call, constant, *outer, read, produced)
    finish_producer(labels, call, (*outer, produced))


@rule(layers.Embedding)
def _embedding(labels: Labels, call: Call) -> None:
    produced = labels.make(call, call.layer.output_dim)
    labels.slot(call, "embeddings", -1, produced, "out")
    labels.edit(call, "output_dim", produced)
    labels.put(call.outputs[0], (*labels.of(call.inputs[0]), produced))


@rule(layers.ReversibleEmbedding)
def _reversible_embedding(labels: Labels, call: Call) -> None:
    """Reads labels like an embedding; in reverse, like a product with the same weights transposed, or with others."""
    if not named_arguments(call).get("reverse"):
        _embedding(labels, call)
        return
    layer: Any = call.layer
    *outer, read = labels.of(call.inputs[0])
    weight, axis = ("embeddings", -1) if layer.tie_weights else ("reverse_embeddings", -2)
    labels.slot(call, weight, axis, read, "in")
    slots = labels.record(call).slots
    slots[weight, axis] = (slots[weight, axis][0], "in")  # also where the first call made them
    labels.edit(call, "output_dim", read)
    sizes = call.inputs[0].shape[1:]
    constant = extent((*outer, read), sizes) * layer.input_dim
    labels.cost(call, constant, *outer, read)
    labels.put(call.outputs[0], (*outer, None))


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _conv(labels: Labels, call: Call) -> None:
    layer: Any = call.layer
    produced: Vector
    axis = channel_axis(layer, call.inputs[0])
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    width = call.inputs[0].shape[1 + axis]
    if layer.groups == 1:
        labels.slot(call, "kernel", -2, read, "in")
        produced = _produced(labels, call, "kernel", -1)
        _kernel_cost(labels, call, call.outputs[0], layer.kernel.shape, read, produced)
    elif layer.groups == width:
        produced = _depthwise_as_groups(labels, call, read)
    else:
        first = None if read is None else labels.tie(read, layer.groups)
        labels.slot(call, "kernel", -2, first, "in")
        labels.tie(produced := _produced(labels, call, "kernel", -1), layer.groups)
        _kernel_cost(labels, call, call.outputs[0], layer.kernel.shape, first, produced)
    labels.slot(call, "bias", -1, produced, "out")
    if produced is not None:
        labels.edit(call, "filters", produced)
    finish_producer(labels, call, only(axis, produced, call.outputs[0]))


def _depthwise_as_groups(labels: Labels, call: Call, read: Vector) -> Vector:
    """Treats a convolution with as many groups as channels like a depthwise one."""
    layer: Any = call.layer
    if read is None:
        produced = labels.make(call, layer.filters)
        labels.pin(produced, reason="each is made of a channel that stays")
    else:
        produced = np.repeat(read, layer.filters // layer.groups)
    labels.slot(call, "kernel", -1, produced, "pass")
    labels.edit(call, "groups", read)
    kernel = layer.kernel.shape
    _kernel_cost(labels, call, call.outputs[0], (*kernel[:-2], 1, kernel[-1]), None, produced)
    return produced


@rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def _conv_transpose(labels: Labels, call: Call) -> None:
    axis = channel_axis(call.layer, call.inputs[0])
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    labels.slot(call, "kernel", -1, read, "in")
    produced = _produced(labels, call, "kernel", -2)
    labels.slot(call, "bias", -1, produced, "out")
    labels.edit(call, "filters", produced)
    *window, width_out, width_in = call.layer.kernel.shape
    _kernel_cost(labels, call, call.inputs[0], (*window, width_in, width_out), read, produced)
    finish_producer(labels, call, only(axis, produced, call.outputs[0]))


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise_conv(labels: Labels, call: Call) -> None:
    axis = channel_axis(call.layer, call.inputs[0])
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    produced = _depthwise_kernel(labels, call, "kernel", read)
    labels.slot(call, "bias", -1, produced, "pass")
    finish_producer(labels, call, only(axis, produced, call.outputs[0]))


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable_conv(labels: Labels, call: Call) -> None:
    axis = channel_axis(call.layer, call.inputs[0])
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    between = _depthwise_kernel(labels, call, "depthwise_kernel", read)
    labels.slot(call, "pointwise_kernel", -2, between, "in")
    produced = _produced(labels, call, "pointwise_kernel", -1)
    labels.slot(call, "bias", -1, produced, "out")
    labels.edit(call, "filters", produced)
    _kernel_cost(labels, call, call.outputs[0], call.layer.pointwise_kernel.shape, between, produced)
    finish_producer(labels, call, only(axis, produced, call.outputs[0]))


@rule(layers.EinsumDense)
def _einsum_dense(labels: Labels, call: Call) -> None:
    read, kernel, written = _letters(call)
    letters = dict(zip(read, labels.of(call.inputs[0]), strict=True)) if read else {}
    shared = any(letter in read and letter in written for letter in kernel)
    if not read or shared or any(letter not in kernel + written for letter in read):
        labels.leave_alone(call, f"no rule for the equation {call.layer.equation}")
        return
    for axis, letter in enumerate(kernel, start=-len(kernel)):
        if letter in read:
            labels.slot(call, "kernel", axis, letters[letter], "in")
        else:
            letters[letter] = labels.make(call, call.layer.kernel.shape[axis], letter if kernel[-1] != letter else "")
            labels.slot(call, "kernel", axis, letters[letter], "out")
    bias = "" if call.layer.bias is None else written[len(written) - len(call.layer.bias.shape) :]
    for axis, letter in enumerate(bias, start=-len(bias)):
        if letter in call.layer.bias_axes:  # the others have size 1
            labels.slot(call, "bias", axis, letters[letter], "out" if letter in kernel else "pass")
    produced = tuple(letters[letter] for letter in written)
    labels.edit(call, "output_shape", *produced, change=_resized)
    every = {letter: letters[letter] for letter in (*read, *kernel)}
    sizes = dict(zip(read, call.inputs[0].shape[1:], strict=True)) | dict(
        zip(kernel, call.layer.kernel.shape, strict=True)
    )
    labels.cost(call, extent(tuple(every.values()), (sizes[letter] for letter in every)), *every.values())
    finish_producer(labels, call, produced)


def _letters(call: Call) -> tuple[str, str, str]:
    """Returns the letters of an equation's input, kernel and output without the batch; none if it is not simple."""
    source, _, written = call.layer.equation.replace(" ", "").partition("->")
    read, _, kernel = source.partition(",")
    if read.startswith("...") and written.startswith("..."):
        missing = len(call.inputs[0].shape) - len(read) + 3
        outer = "".join(sorted(set("ABCDEFGHIJKLMNOPQRSTUVWXYZ") - set(source + written))[:missing])
        read, written = outer + read[3:], outer + written[3:]
    simple = "..." not in read + kernel + written and read[:1] == written[:1] and read[:1] not in kernel
    simple = simple and all(len(set(each)) == len(each) for each in (read, kernel, written))
    return (read[1:], kernel, written[1:]) if simple else ("", "", "")


def _resized(old: Any, kept: list[np.ndarray]) -> Any:
    sizes = [old] if isinstance(old, int) else list(old)
    kept = kept[len(kept) - len(sizes) :]  # the axes before them belong to an ellipsis
    return [size if mask is None or size is None else int(mask.sum()) for size, mask in zip(sizes, kept, strict=True)]


def finish_producer(labels: Labels, call: Call, axes: Axes) -> None:
    """Sets the labels of the output of a layer with an activation, which are pinned if that mixes positions."""
    _guard_bias(labels, call, axes)
    if mixed := mixing_activation(call.layer):
        labels.pin(*axes, reason=mixed)
    labels.put(call.outputs[0], axes)


def _guard_bias(labels: Labels, call: Call, axes: Axes) -> None:
    """Pins so many channels that none of the widths is reached where Keras adds the bias along the wrong axis.

    Its `add` (3.15, TensorFlow) takes a vector for a bias of the last axis if it is as long as that, and otherwise for
    one of the first axis after the batch axis if it is as long as that.
    """
    layer: Any = call.layer
    output = call.outputs[0]
    bias = getattr(layer, "bias", None)
    if bias is None:
        return
    if getattr(layer, "data_format", None) == "channels_first":
        place = 0
    else:
        wide = [index for index, size in enumerate(bias.shape) if size > 1]
        place = len(axes) - len(bias.shape) + wide[0] if len(wide) == 1 else len(axes) - 1
    produced = axes[place]
    if place == len(axes) - 1 or produced is None:
        return
    others = {0, len(axes) - 1} - {place}
    sizes = [output.shape[1 + index] for index in others]
    if None in sizes or any(axes[index] is not None for index in others):
        labels.pin(produced, *(axes[index] for index in others), reason=_MISTAKEN_BIAS)
        return
    mistaken = [size for size in sizes if 1 < size <= len(produced)]
    labels.pin(produced[: max(mistaken, default=-1) + 1], reason=_MISTAKEN_BIAS)


def _produced(labels: Labels, call: Call, weight: str, axis: int) -> np.ndarray:
    produced = labels.make(call, call.layer.filters)
    labels.slot(call, weight, axis, produced, "out")
    return produced


def _depthwise_kernel(labels: Labels, call: Call, weight: str, read: Vector) -> Vector:
    kernel = getattr(call.layer, weight).shape
    labels.slot(call, weight, -2, read, "pass")
    multiplier = kernel[-1]
    _kernel_cost(labels, call, call.outputs[0], (*kernel[:-2], kernel[-2], multiplier), read, None)
    return None if read is None else np.repeat(read, multiplier)


def _kernel_cost(
    labels: Labels, call: Call, where: keras.KerasTensor, kernel: tuple[int, ...], read: Vector, produced: Vector
) -> None:
    """Notes the cost of a kernel `[..., in, out]` at every position of a tensor."""
    axis = channel_axis(call.layer, where)
    spatial = [size for index, size in enumerate(where.shape[1:]) if index != axis]
    window = (
        positions(kernel[:-2]) * (1 if read is not None else kernel[-2]) * (1 if produced is not None else kernel[-1])
    )
    labels.cost(call, positions(spatial) * window, read, produced)
