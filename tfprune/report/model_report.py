"""The numbers of a model and of its layers: parameters, FLOPs, memory traffic, and latency if it was measured.

FLOPs count multiply-adds of kernels, and two per value of a batch norm, for one example. `model_report` collects the
numbers, `sized_model` fixes the input size of a model whose numbers depend on it, and `comparison_table` prints the
numbers of two models.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import keras
import numpy as np
from rich.console import Console
from rich.text import Text

from tfprune.arguments import whole_number
from tfprune.console import report_console
from tfprune.errors import ConfigError
from tfprune.graph import Call, ChannelGroups, CostModel, channel_groups
from tfprune.graph.calls import FoldTime, UnfoldTime, functional_graph, model_calls
from tfprune.keras_private import flat_layers
from tfprune.layers.masked import Masked
from tfprune.report.latency import Latency
from tfprune.reprs import described, short_repr
from tfprune.tables import Column, make_table

_BYTES = 4  # float32
_PASS_ON = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
    FoldTime,
    UnfoldTime,
)
_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", lambda value: f"{value:.2%}"),
    "flops": ("FLOPs (multiply-adds)", lambda value: f"{value / 1e6:,.2f} M"),
    "params": ("parameters", lambda value: f"{value:,.0f}"),
    "file_bytes": ("file size", lambda value: f"{value / 1e6:,.2f} MB"),
    "latency_ms": ("latency, 1 image", lambda value: f"{value:.2f} ms"),
}


@dataclass(frozen=True)
class LayerReport:
    """The numbers of one layer, for one example.

    Attributes:
        layer: Its name; `outer/inner` in a nested model.
        kind: Its class.
        channels: Size of the channel axis of its output; None if the output has none.
        params: Parameters, moving statistics included.
        flops: Multiply-adds of kernels, and two per value of a batch norm; None where a size is unknown.
        macs: Multiply-adds of kernels alone; None where a size is unknown.
        traffic: Bytes of inputs, weights and outputs at float32; None where a size is unknown.
        latency_ms: Median milliseconds of the layer alone; None if it was not measured.
    """

    layer: str
    kind: str
    channels: int | None
    params: int
    flops: int | None
    macs: int | None
    traffic: int | None
    latency_ms: float | None = None


@dataclass(frozen=True)
class ModelReport:
    """The numbers of a model, for one example.

    Attributes:
        name: Its name.
        params: Parameters, moving statistics included.
        flops: Sum over the layers, see `LayerReport`; None where a size is unknown.
        macs: Sum over the layers; None where a size is unknown.
        traffic: Sum over the layers, in bytes; None where a size is unknown.
        layers: All layers, bare operations included, in the order of the model.
        uncounted: Layers with weights whose FLOPs are not known; they count as 0.
        latency: Latency of the whole model; None if it was not measured.
        masks: How many of the parameters are values of masks.
    """

    name: str
    params: int
    flops: int | None
    macs: int | None
    traffic: int | None
    layers: tuple[LayerReport, ...]
    uncounted: tuple[str, ...] = ()
    latency: Latency | None = None
    masks: int = 0

    __repr__ = short_repr

    @property
    def by_layer(self) -> Mapping[str, LayerReport]:
        """The layers by name."""
        return {each.layer: each for each in self.layers}


def model_report(
    model: keras.Model,
    groups: ChannelGroups | None = None,
    *,
    latency: Latency | None = None,
    layer_latency: Mapping[str, float] | None = None,
) -> ModelReport:
    """Collects the numbers of a model and of its layers.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups, if they are known.
        latency: Latency of the whole model, if it was measured.
        layer_latency: Milliseconds by layer, if they were measured.

    Returns:
        The report.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    groups = groups or channel_groups(model)
    cost = CostModel(model, groups).complexity(np.ones(groups.channels, bool))
    traffic = memory_traffic(groups.calls)
    sized = None not in traffic.values()
    costs = {each.layer: each for each in cost.layers}
    masks = {
        id(mask): mask for layer in flat_layers(model) if isinstance(layer, Masked) for mask in layer.masks.values()
    }
    layers = []
    for name, call in {call.name: call for call in groups.calls}.items():
        own = costs.get(name)
        layers.append(
            LayerReport(
                name,
                type(call.layer).__name__,
                _channels(call),
                own.params if own else 0,
                (own.flops if own else 0) if sized else None,
                (own.macs if own else 0) if sized else None,
                traffic[name],
                layer_latency[name] if layer_latency is not None else None,
            )
        )
    return ModelReport(
        model.name,
        cost.params,
        cost.flops if sized else None,
        cost.macs if sized else None,
        sum(each or 0 for each in traffic.values()) if sized else None,
        tuple(layers),
        cost.uncounted,
        latency,
        sum(prod(mask.shape) for mask in masks.values()),
    )


def _channels(call: Call) -> int | None:
    """Returns the size of the channel axis of a call's output."""
    shape = call.outputs[0].shape
    if len(shape) < 2:
        return None
    return shape[1] if getattr(call.layer, "data_format", None) == "channels_first" else shape[-1]


def memory_traffic(calls: Iterable[Call]) -> dict[str, int | None]:
    """Counts the bytes that each layer reads and writes for one example, at float32: inputs, weights and outputs.

    This holds for layers that run alone; a runtime that fuses layers or keeps tensors in its caches moves fewer bytes.
    Weights count once per call, also in recurrent layers, and those of an embedding only as far as they are looked up.
    Layers that pass their input on (input layers, dropout, flatten, reshape) move nothing.

    Args:
        calls: The calls of a model (`tfprune.graph.model_calls`).

    Returns:
        Bytes by layer, over all calls of the layer; None where a size is unknown.

    Example:
        >>> from tfprune.graph import model_calls
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> list(memory_traffic(model_calls(model)).values())[-1]  # 3 inputs, 3 x 2 weights and 2 biases, 2 outputs
        52
    """
    traffic: dict[str, int | None] = {}
    for call in calls:
        before = traffic.get(call.name, 0)
        moved = _moved(call)
        traffic[call.name] = None if before is None or moved is None else before + moved
    return traffic


def _moved(call: Call) -> int | None:
    """Counts the bytes that one call moves."""
    if moves_nothing(call.layer):
        return 0
    shapes = [tensor.shape[1:] for tensor in (*call.inputs, *call.outputs)]
    if any(None in shape for shape in shapes):
        return None
    weights = sum(prod(weight.shape) for weight in getattr(call.layer, "weights", ()))
    if isinstance(call.layer, keras.layers.Embedding):
        weights = min(weights, prod(shapes[-1]))  # only the rows that are looked up
    return call.times * _BYTES * (weights + sum(map(prod, shapes)))


def moves_nothing(layer: keras.Operation) -> bool:
    """Returns whether a layer passes its input on in inference, possibly in another shape."""
    return type(layer) in _PASS_ON


def has_unknown_sizes(model: keras.Model) -> bool:
    """Returns whether an input of a model has an axis, except the batch axis, of any size."""
    graph = functional_graph(model)
    return graph is not None and any(None in tensor.shape[1:] for tensor in graph.inputs)


def sized_model(model: keras.Model, input_shape: Sequence[int]) -> keras.Model:
    """Copies a model with a fixed input size, so that the sizes and costs of its layers are known.

    Args:
        model: A functional or sequential model with one input. It is not changed.
        input_shape: Shape of one example.

    Returns:
        A copy with the same weights; `model` itself if its input size is fixed.

    Raises:
        ConfigError: The model does not take such inputs, or sizes inside remain unknown.
    """
    if not isinstance(input_shape, list | tuple):
        raise ConfigError(f"input_shape: expected the sizes of one example, received {described(input_shape)}")
    input_shape = [whole_number("input_shape", size) for size in input_shape]
    graph = functional_graph(model)
    if len(graph.inputs) != 1:
        raise ConfigError(f"input_shape: expected a model with one input, received one with {len(graph.inputs)}")
    (given,) = graph.inputs
    taken = given.shape[1:]
    fits = len(taken) == len(input_shape) and all(a in (None, b) for a, b in zip(taken, input_shape, strict=True))
    if not fits:
        raise ConfigError(f"input_shape: expected one that fits {list(taken)}, received {list(input_shape)}")
    return _copy(model, tuple(input_shape)) if None in taken else model


def _copy(model: keras.Model, input_shape: tuple[int, ...]) -> keras.Model:
    """Rebuilds a model from its configuration with another input shape."""
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, *input_shape)
    if "build_input_shape" in config:
        config["build_input_shape"] = (None, *input_shape)
    layers = [type(call.layer) for call in model_calls(model)]
    classes = {layer.__name__: layer for layer in layers if not layer.__module__.startswith("keras.")}
    try:
        copy = type(model).from_config(config, custom_objects=classes)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"input_shape: {model.name} does not take inputs of {list(input_shape)}: {reason}") from error
    for layer in model.layers:
        for old, new in zip(layer.weights, copy.get_layer(layer.name).weights, strict=True):
            new.assign(old)
    for call in model_calls(copy):
        if any(None in tensor.shape[1:] for tensor in call.outputs):
            raise ConfigError(
                f"input_shape: the sizes within {model.name} remain unknown at {call.name}; "
                "build the model with a fixed input shape"
            )
    return copy


def comparison_table(rows: Mapping[str, Mapping[str, float]], console: Console | None = None) -> None:
    """Prints accuracy, FLOPs, parameters, file size and measured latency of two models, and their ratio.

    Args:
        rows: `before` and `after`, each with `accuracy` (a fraction), `flops`, `params`, `file_bytes`, `latency_ms`.
        console: Where to print. Default: standard output.
    """
    before, after = rows.values()
    cells = [
        (title, show(before[key]), show(after[key]), _change(key, before[key], after[key]))
        for key, (title, show) in _COLUMNS.items()
    ]
    columns = [Column("", "name"), *(Column(name) for name in (*rows, "change"))]
    (console or report_console()).print(Text(make_table(columns, cells)))


def _change(key: str, before: float, after: float) -> str:
    """Returns the change of a number in words."""
    if key == "accuracy":
        return f"{100 * (after - before):+.2f} points"
    if round(before / after, 2) == 1:
        return "same"
    return f"{before / after:.2f} times less" if after < before else f"{after / before:.2f} times more"
