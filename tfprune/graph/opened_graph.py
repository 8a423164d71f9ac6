"""The graph of a model in which layers without a rule are replaced by what they compute.

Blocks of transformers are layers with layers inside. They are opened on symbolic tensors of the model's own shapes. If
a block needs to know sizes, as causal masks do, the whole model is read again with a size on each open axis.
"""

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature

import keras

from tfprune.graph.calls import Call, ModelGraph, OpenedLayer, functional_graph, model_graph
from tfprune.graph.opening import constants
from tfprune.graph.rules.layer_trials import tried
from tfprune.graph.rules.lookup import has_rule
from tfprune.keras_private import first_call, flat_layers, own_variables, producer

EXAMPLES = 2
"""Number of examples with which a model is read whose layers need to know it."""

OPEN_SIZE = 8
"""Size of other open axes in such a model."""


def opened_graph(model: keras.Model, sizes: Sequence[Sequence[int | None]] | None = None) -> ModelGraph:
    """Lists a model's calls, and in place of those of opaque layers what these compute.

    Args:
        model: A functional or sequential model, built.
        sizes: Shapes of its inputs with which to read it. Default: its own, or if a layer needs to know sizes, those
            with `EXAMPLES` examples and `OPEN_SIZE` on other open axes.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    if sizes is not None:
        return model_graph(model, is_opaque, sizes)
    graph = model_graph(model, is_opaque)
    used = any(opening.weights for layer in graph.opened for opening in layer.openings.values())
    unknown = any(map(_has_unknown_width, graph.opened))
    if not graph.closed and not used and not unknown:
        return graph
    definite = [_definite(tensor.shape) for tensor in functional_graph(model).inputs]
    other = model_graph(model, is_opaque, definite)
    better = used or unknown or len(other.closed) < len(graph.closed)
    return replace(other, general=graph) if better else replace(graph, closed=other.closed)


def _definite(shape: Sequence[int | None]) -> tuple[int, ...]:
    first, *others = shape
    return (first or EXAMPLES, *(size or OPEN_SIZE for size in others))


def _has_unknown_width(layer: OpenedLayer) -> bool:
    """Returns whether an opened layer has tensors whose last axis has a size only if the others do."""
    tensors = [each for opening in layer.openings.values() for node in opening.nodes for each in node.output_tensors]
    return any(len(tensor.shape) > 2 and tensor.shape[-1] is None for tensor in tensors)


def is_opaque(operation: keras.Operation, within: bool) -> bool:
    """Returns whether what a layer does to channels shows only in its code.

    Args:
        operation: A layer or operation.
        within: Whether the code of another opened layer calls it; then a layer without weights is opened, too.
    """
    if not isinstance(operation, keras.Layer) or has_rule(operation):
        return False
    foreign = not type(operation).__module__.startswith("keras.")
    if len(flat_layers(operation)) == 1 and not (within and foreign and not operation.weights):
        return False
    return not _is_tried_whole(operation)


def _is_tried_whole(layer: keras.Layer) -> bool:
    """Returns whether a trial is better than opening a layer, and tells what it does.

    That is so where weights of its own, or tables that it reads by numbers of its own, would be constants in its code:
    in layers that use weights themselves, and in those that make channels of the model's inputs.
    """
    node = first_call(layer)
    if node is None or len(node.output_tensors) != 1:
        return False
    first = all(isinstance(producer(tensor).operation, keras.layers.InputLayer) for tensor in node.input_tensors)
    if not (first or own_variables(layer)):
        return False
    found = tried(Call(layer, layer.name, tuple(node.input_tensors), tuple(node.output_tensors), node))
    return found is not None and (found.width("makes") is not None or bool(own_variables(layer)))


def expandable(graph: ModelGraph, model: keras.Model) -> dict[str, OpenedLayer]:
    """Returns the opened layers that a functional model can take the place of, for any number of examples.

    A layer that is called with a cache, as when text is generated, has arguments that such a model cannot take; one
    that uses weights itself has no layer for these. All calls of a layer must have the same settings.

    Args:
        graph: The model's graph with opened layers.
        model: The model.

    Returns:
        Layers that the model calls, and those within them, by name.
    """
    general = graph.general or (graph if graph.sizes is None else model_graph(model, is_opaque))
    found = {layer.name: layer for layer in general.opened}
    refused = {name for name, layer in found.items() if not is_general(layer)} | set(general.closed)
    outer = [layer.name for layer in general.opened if layer.within is None]
    good = [name for name in outer if not any(f"{each}/".startswith(f"{name}/") for each in refused)]
    return {name: layer for name, layer in found.items() if any(f"{name}/".startswith(f"{each}/") for each in good)}


def is_general(layer: OpenedLayer) -> bool:
    """Returns whether a functional model can take the place of an opened layer, whatever is within that; see above."""
    arguments = signature(layer.layer.call).parameters
    alike = len({constants(node) for node, _ in layer.calls}) == 1
    weights = any(each.weights for each in layer.openings.values())
    cached = any("cache" in name for name in arguments)
    return alike and not weights and not cached and not _has_unknown_width(layer)
