"""The numbers of a model and of its layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.graph import Call, ChannelGroups, CostModel, channel_groups
from tfprune.report.latency import Latency
from tfprune.report.memory_traffic import memory_traffic


@dataclass(frozen=True)
class LayerReport:
    """The numbers of one layer, for one example.

    Attributes:
        layer: Name; `outer/inner` in a nested model.
        kind: Class.
        channels: Size of its output's channel axis; None if the output has none.
        params: Parameters, moving statistics included.
        flops: Multiply-accumulates of kernels, and two per value for batch norm; None where a size is unknown.
        macs: Multiply-accumulates of kernels alone; None where a size is unknown.
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
        flops: Sum over the layers; None where a size is unknown.
        macs: Sum over the layers; None where a size is unknown.
        traffic: Sum over the layers, in bytes; None where a size is unknown.
        layers: All layers, bare operations included, in the order of the model.
        uncounted: Layers with weights whose FLOPs are not known; they stand as 0.
        latency: Of the whole model; None if it was not measured.
    """

    name: str
    params: int
    flops: int | None
    macs: int | None
    traffic: int | None
    layers: tuple[LayerReport, ...]
    uncounted: tuple[str, ...] = ()
    latency: Latency | None = None

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
    """Collects the numbers of a model.

    Args:
        model: A functional or sequential model.
        groups: Its channel groups. Default: they are found anew.
        latency: Of the whole model, if it was measured.
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
    )


def _channels(call: Call) -> int | None:
    shape = call.outputs[0].shape
    if len(shape) < 2:
        return None
    return shape[1] if getattr(call.layer, "data_format", None) == "channels_first" else shape[-1]
