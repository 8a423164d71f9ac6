"""Models as ONNX files, for ONNX Runtime and what else reads them."""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import keras

from tfprune.console import quiet
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting.plain import plain_model
from tfprune.exporting.replacement import replaced_file
from tfprune.graph.calls import functional_graph
from tfprune.keras_private import input_structure, output_structure


def export_onnx(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a model as an ONNX file: inputs by name, outputs `output_0`, ... or by the keys of a dict of outputs.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.onnx`; an older one is replaced, a missing folder made.

    Raises:
        ConfigError: The name does not end in `.onnx`, or a package is missing.
        UnsupportedLayerError: See `plain_model`; or ONNX lacks an operation of the model.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"expected a file name that ends in .onnx, received {path}; rename it")
    onnx = _import_all()
    plain = plain_model(model)
    with replaced_file(path) as partial:
        with quiet():
            plain.export(partial, format="onnx", verbose=False, input_signature=[_signature(plain)])
        proto = onnx.load(partial)
        _refuse_foreign(onnx, proto)
        _name_outputs(proto.graph, plain)
        _name_batch_axis(proto.graph)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, partial)


def _import_all() -> Any:
    try:
        with quiet():
            import_module("tf2onnx")
            return import_module("onnx")
    except ImportError as error:
        raise ConfigError(
            f"expected the packages onnx and tf2onnx, received {error}; run: pip install 'tfprune[onnx]'"
        ) from error


def _signature(plain: keras.Model) -> Any:
    """The inputs, which Keras' ONNX writer finds itself only in models that have been called."""
    return keras.tree.map_structure(
        lambda tensor: keras.InputSpec(shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name),
        input_structure(functional_graph(plain)),
    )


def _refuse_foreign(onnx: Any, proto: Any) -> None:
    """The converter writes operations that it cannot translate as they are, and only logs it."""
    foreign = {node.op_type for node in _nodes(proto.graph) if not onnx.defs.has(node.op_type, domain=node.domain)}
    if foreign:
        raise UnsupportedLayerError(
            f"expected operations that ONNX has, received {', '.join(sorted(foreign))}; export to another format"
        )


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _name_outputs(graph: Any, plain: keras.Model) -> None:
    """Gives the outputs the names that they have in SavedModel and TFLite files."""
    if isinstance(output_structure(functional_graph(plain)), dict):
        return  # the converter has taken the keys
    names = {value.name: f"output_{number}" for number, value in enumerate(graph.output)}
    for value in graph.output:
        value.name = names[value.name]
    for node in _nodes(graph):
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]


def _name_batch_axis(graph: Any) -> None:
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_param = "batch"
