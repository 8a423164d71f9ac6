"""ONNX files, for ONNX Runtime and other programs; needs the packages onnx and tf2onnx (`tfprune[onnx]`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import keras
import tensorflow as tf

from tfprune.console import quiet
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting.keras import plain_model
from tfprune.exporting.onnx_operations import HANDLERS
from tfprune.exporting.output import output_file, output_path
from tfprune.exporting.record import Record, record_text
from tfprune.exporting.serving import conversion_error, input_signature, serving_function, stateful_layers
from tfprune.graph.calls import functional_graph
from tfprune.keras_private import output_structure


def export_onnx(model: keras.Model, path: str | os.PathLike[str], *, record: Record | None = None) -> None:
    """Writes a model as an ONNX file: inputs by name, outputs `output_0`, ... or by the keys of a dict of outputs.

    Args:
        model: A functional or sequential model without masks and gates.
        path: The file, ending in `.onnx`; an older one is replaced, a missing folder created.
        record: What to store about the model, see `tfprune.exporting.record_text`, as the metadata `tfprune` of the
            file. Default: nothing.

    Raises:
        ConfigError: The name does not end in `.onnx`, or a package is missing.
        UnsupportedLayerError: See `plain_model`; or ONNX lacks an operation of the model.
        WriteError: The file cannot be written.
    """
    path = output_path(path, ".onnx")
    onnx, tf2onnx = _import_packages()
    plain = plain_model(model)
    metadata = {} if record is None else {"tfprune": record_text(record)}
    try:
        _check_states(plain)
        proto = _converted(onnx, tf2onnx, plain)
        _check_operations(onnx, proto)
        _name_outputs(proto.graph, plain)
        _name_batch_axis(proto.graph)
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
    except (UnsupportedLayerError, OSError, MemoryError):
        raise
    except Exception as error:  # the two packages raise anything
        raise conversion_error("ONNX", plain, error) from error
    with output_file(path) as partial:
        onnx.save(proto, partial)


def _check_states(plain: keras.Model) -> None:
    """Raises `UnsupportedLayerError` for layers that keep a state between calls, which would be lost."""
    if names := [layer.name for layer in stateful_layers(plain)]:
        raise UnsupportedLayerError(
            f"expected layers without a state, as ONNX has none, received {', '.join(names)}; export to another format"
        )


def _converted(onnx: Any, tf2onnx: Any, plain: keras.Model) -> Any:
    """Returns the model as tf2onnx translates it."""
    signature = keras.tree.map_structure(
        lambda spec: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name), input_signature(plain)
    )
    handlers: dict[str, tuple[Any, list[Any]]] = {name: (handler, []) for name, handler in HANDLERS.items()}
    function = tf.function(serving_function(plain), autograph=False)
    with quiet():
        with _inlined_functions():
            concrete = function.get_concrete_function(*signature)  # from_function gets the same one
        proto, _ = tf2onnx.convert.from_function(function, signature, custom_op_handlers=handlers)
    _fill_in_constants(onnx, proto.graph, concrete)
    return proto


def _fill_in_constants(onnx: Any, graph: Any, concrete: Any) -> None:
    """Turns inputs that stand for constants of the layers, such as the means of a normalization, into these."""
    outside = concrete.captured_inputs
    values = {inner.name: outer for inner, outer in zip(concrete.inputs[-len(outside) :], outside, strict=False)}
    used = {name for node in _nodes(graph) for name in node.input}
    for value in [each for each in graph.input if each.name in values]:
        graph.input.remove(value)
        if value.name in used:
            graph.initializer.append(onnx.numpy_helper.from_array(values[value.name].numpy(), value.name))


@contextmanager
def _inlined_functions() -> Iterator[None]:
    """Traces functions, compiled ones (grouped convolutions) included, as part of their callers."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _import_packages() -> tuple[Any, Any]:
    """Returns the packages onnx and tf2onnx; raises `ConfigError` if one is missing."""
    try:
        with quiet():
            tf2onnx = import_module("tf2onnx")
            return import_module("onnx"), tf2onnx
    except ImportError as error:
        raise ConfigError(
            f"expected the packages onnx and tf2onnx, received {error}; run: pip install 'tfprune[onnx]'"
        ) from error


def _check_operations(onnx: Any, proto: Any) -> None:
    """Raises `UnsupportedLayerError` for operations that the converter did not translate, which it only logs."""
    foreign = {node.op_type for node in _nodes(proto.graph) if not onnx.defs.has(node.op_type, domain=node.domain)}
    if foreign:
        raise UnsupportedLayerError(
            f"expected operations that ONNX has, received {', '.join(sorted(foreign))}; export to another format"
        )


def _nodes(graph: Any) -> Iterator[Any]:
    """Yields the nodes of a graph and of the graphs within it."""
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
    """Names the first axis of all inputs and outputs `batch` if its size is free."""
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_param:
            shape.dim[0].dim_param = "batch"
