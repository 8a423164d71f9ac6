"""The graph of a model in which layers without a rule are replaced by what they compute.

Blocks of transformers are layers with layers inside. They are opened on symbolic tensors of the model's own shapes. If
a block needs to know sizes, as causal masks do, the whole model is read again with a size on each open axis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import keras

from tfprune.graph.calls import Call, ModelGraph, OpenedLayer, functional_graph, is_within, model_graph
from tfprune.graph.example_sizes import example_sizes, open_sizes
from tfprune.graph.opening import Opening, constants, has_training_code
from tfprune.graph.rules.layer_trials import tried
from tfprune.graph.rules.lookup import has_rule
from tfprune.graph.rules.moving import moves_open_examples
from tfprune.keras_private import first_call, flat_layers, own_variables, producer, takes_training
from tfprune.keras_private import numpy_operations as numpy

EXAMPLES = 2
"""Number of examples with which a model is read whose layers need to know it."""

OPEN_SIZES = (8, 64, 1024)
"""Sizes of other open axes in such a model: the first with which all layers can be read."""

_FEW = (1, 3)
"""A small number of examples, and size of other open axes, with which a model is read that was read with others."""


def opened_graph(model: keras.Model, sizes: Sequence[Sequence[int | None]] | None = None) -> ModelGraph:
    """Lists a model's calls, and in place of those of opaque layers what these compute.

    Args:
        model: A functional or sequential model, built.
        sizes: Shapes of its inputs with which to read it. Default: its own, or if a layer needs to know sizes, those
            with `EXAMPLES` examples and one of `OPEN_SIZES` on other open axes.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    if sizes is not None:
        return model_graph(model, is_opaque, sizes)
    graph = model_graph(model, is_opaque)
    widths = any(map(_has_unknown_width, graph.opened))
    moved = widths or (bool(graph.opened) and any(map(_moves_examples, graph.calls)))
    if not graph.closed and not moved:
        return graph
    found: list[ModelGraph] = []
    shapes = [tensor.shape for tensor in functional_graph(model).inputs]
    for size in OPEN_SIZES:
        try:
            found.append(model_graph(model, is_opaque, [_definite(shape, size) for shape in shapes]))
        except Exception:  # of any layer's code: a convolution may need more positions
            continue
        if not found[-1].closed:
            break
    if not found:
        return graph
    best = min(found, key=lambda each: len(each.closed))
    return best if moved or len(best.closed) < len(graph.closed) else replace(graph, closed=best.closed)


def _definite(shape: Sequence[int | None], open_size: int) -> tuple[int, ...]:
    first, *others = shape
    return (first or EXAMPLES, *(size or open_size for size in others))


def _has_unknown_width(layer: OpenedLayer) -> bool:
    """Returns whether a layer within an opened one reads a width that is known only if the other sizes are."""
    nodes = [node for opening in layer.openings.values() for node in opening.nodes]
    reading = [node.input_tensors for node in nodes if getattr(node.operation, "weights", ())]
    return any(len(tensors) == 1 and tensors[0].shape[-1] is None for tensors in reading)  # others have masks, too


def _moves_examples(call: Call) -> bool:
    """Returns whether a call makes examples of positions, or of examples other axes."""
    reshapes = isinstance(call.layer, numpy.Reshape)
    return any(tensor.shape and tensor.shape[0] is not None for tensor in call.outputs if call.inputs) or (
        reshapes and moves_open_examples(call.inputs[0].shape, call.outputs[0].shape)
    )


def is_opaque(operation: keras.Operation, within: bool, node: Any = None) -> bool:
    """Returns whether what a layer does to channels shows only in its code.

    Args:
        operation: A layer or operation.
        within: Whether the code of another opened layer calls it; then a layer without layers is opened, too.
        node: Keras' record of the call. Default: that of its first call.
    """
    if not isinstance(operation, keras.Layer) or has_rule(operation):
        return False
    foreign = not type(operation).__module__.startswith("keras.")
    if len(flat_layers(operation)) == 1 and not (within and foreign and not takes_training(operation)):
        return False  # such as stochastic depth of its own: what it does in training stays in its code
    return not _is_tried_whole(operation, node)


def _is_tried_whole(layer: keras.Layer, node: Any) -> bool:
    """Returns whether a trial is better than opening a layer, and tells what it does.

    That is so where weights of its own, or tables that it reads by numbers of its own, would be constants in its code:
    in layers that use weights themselves, and in those that make channels of the model's inputs.
    """
    outer = first_call(layer)
    node = node or outer
    if node is None or len(node.output_tensors) != 1:
        return False
    read = () if outer is None else outer.input_tensors
    first = bool(read) and all(isinstance(producer(tensor).operation, keras.layers.InputLayer) for tensor in read)
    if not (first or own_variables(layer)):
        return False
    found = tried(Call(layer, layer.name, tuple(node.input_tensors), tuple(node.output_tensors), node))
    return found is not None and (found.width("makes") is not None or bool(own_variables(layer)))


def expandable(graph: ModelGraph, model: keras.Model) -> dict[str, OpenedLayer]:
    """Returns the opened layers that a functional model can take the place of, for any number of examples.

    A layer that is called with a cache, as when text is generated, has arguments that such a model cannot take. All
    calls of a layer must have the same settings.

    Args:
        graph: The model's graph with opened layers.
        model: The model.

    Returns:
        Layers that the model calls, and those within them, by name.
    """
    found = {layer.name: layer for layer in graph.opened}
    refused = {name for name, layer in found.items() if not is_general(layer)} | set(graph.closed)
    refused |= _open(graph) if graph.sizes is None else _bound(graph, model)
    outer = [layer.name for layer in graph.opened if layer.within is None]
    good = [name for name in outer if not any(is_within(each, name) for each in refused)]
    return {name: layer for name, layer in found.items() if any(is_within(name, each) for each in good)}


def _open(graph: ModelGraph) -> set[str]:
    """Returns the names of layers that need to know sizes when they run, and notes in others where these are."""
    bound = set()
    for layer in graph.opened:
        for opening in layer.openings.values():
            sizes = open_sizes(opening)
            if sizes is None:
                bound.add(layer.name)
            else:
                layer.sizes.update(sizes)
    return bound


def _bound(graph: ModelGraph, model: keras.Model) -> set[str]:
    """Returns the names of layers that need to know sizes when they run, and notes in others where these are.

    Args:
        graph: The model's graph, read with sizes.
        model: The model.
    """
    sizes_of = [[fixed or 1 for fixed in shape] for shape in graph.sizes or ()]
    others = _read_at(model, [[2 * fixed for fixed in shape] for shape in sizes_of])
    few = _read_at(model, [[_FEW[min(axis, 1)] for axis in range(len(shape))] for shape in sizes_of])
    bound = {layer.name for layer in graph.opened} - others.keys()
    for layer in graph.opened:
        for one, other in _pairs(layer, few):
            if example_sizes(one, other) is None:
                bound.add(layer.name)
        for one, other in _pairs(layer, others):
            sizes = example_sizes(one, other)
            if sizes is None:
                bound.add(layer.name)
            else:
                layer.sizes.update(sizes)
    return bound


def _read_at(model: keras.Model, sizes: Sequence[Sequence[int]]) -> dict[str, OpenedLayer]:
    """Returns the opened layers of a model, by name, as read with sizes on its open axes.

    Args:
        model: The model.
        sizes: A size for each axis of its inputs.

    Returns:
        The layers; none if the model does not take these sizes.
    """
    own = [tensor.shape for tensor in functional_graph(model).inputs]
    shapes = [[known or size for known, size in zip(*pair, strict=True)] for pair in zip(own, sizes, strict=True)]
    try:
        return {layer.name: layer for layer in model_graph(model, is_opaque, shapes).opened}
    except Exception:  # of any layer's code
        return {}


def _pairs(layer: OpenedLayer, others: Mapping[str, OpenedLayer]) -> list[tuple[Opening, Opening]]:
    """Returns what each call of a layer computes, as read with some sizes and with others; none if it was not."""
    if layer.name not in others:
        return []
    other = others[layer.name]
    calls = zip(layer.calls, other.calls, strict=True)
    return [(layer.openings[id(one)], other.openings[id(another)]) for (one, _), (another, _) in calls]


def is_general(layer: OpenedLayer) -> bool:
    """Returns whether a functional model can take the place of an opened layer, whatever is within that; see above."""
    arguments = signature(layer.layer.call).parameters
    alike = len({constants(node) for node, _ in layer.calls}) == 1
    cached = any("cache" in name for name in arguments)
    plain = alike and not cached and not _has_unknown_width(layer)
    return plain and not any(has_training_code(node, layer.openings[id(node)]) for node, _ in layer.calls)
