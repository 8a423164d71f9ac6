"""The supernet: a Keras model with gates and masked kernels, of which every gate setting is a sub-network."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import (
    ChannelGroups,
    GateSite,
    gate_sites,
    model_calls,
    rebuild,
    sites_by_group,
    swap_layer,
)
from tfprune.graph.channel_groups import groups_except
from tfprune.layers import ChannelGate, FusedBatchNormalization, ScoredBatchNormalization
from tfprune.search.state import Gates

Gate = ChannelGate | ScoredBatchNormalization


class Supernet:
    """A model whose kernels are masked and whose channel groups have gates, for training and scoring with Keras.

    A group that is used at one place, after a batch norm, has its gate in the batch norm; any other group has one
    `ChannelGate` that acts at all its places. The search itself runs on `SubNetworks`, which does the same work several
    times faster.

    Args:
        model: A functional model of plain layers. It is not changed.
        search_step: As in `Gates`.

    Raises:
        UnsupportedLayerError: A gate would act on channels of several groups, as after a concatenation.

    Attributes:
        model: The Keras model with masks and gates; it trains with `fit` and with `training.Loop`.
        groups: The channel groups.
        gates: Turns scores into orders, orders and rates into masks.

    Reference:
        Lee & Song, EKG (ECCV 2022).
    """

    def __init__(self, model: keras.Model, search_step: float = 0.2) -> None:
        self.groups: ChannelGroups = groups_except(model, {}, opens=False)
        self.gates = Gates(self.groups, search_step)
        sites = gate_sites(self.groups)
        mixed = [site.layer for site in sites if site.group is None]
        if mixed:
            raise UnsupportedLayerError(
                f"expected a model whose gates each act on one channel group, received one where {', '.join(mixed)} "
                "has channels of several; `Search` can search in it"
            )
        scored, shared = _placement(model, self.groups, sites)
        self._gates: list[Gate] = []
        gate_of_group = {group: ChannelGate(name=f"{self.groups[group].name}_gate") for group in set(shared.values())}

        def make(layer: keras.Layer) -> keras.Layer:
            return swap_layer(layer, "gated" if layer.name in scored else "channel_masked")

        def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
            outputs = layer(*args, **kwargs)
            return gate_of_group[shared[layer.name]](outputs) if layer.name in shared else outputs

        self.model = rebuild(model, make, call)
        names = {group: name for name, group in scored.items()}
        for group in range(len(self.groups)):
            gate = gate_of_group.get(group)
            self._gates.append(gate if gate is not None else self.model.get_layer(names[group]))

    def assign(self, orders: np.ndarray, rates: np.ndarray) -> None:
        """Sets all gates and masks to a sub-network.

        Args:
            orders: Ranks of all channels within their groups, float32 `[channels]`.
            rates: Fraction of channels that each gate keeps, `[groups]`.
        """
        for group, gate, rate in zip(self.groups, self._gates, rates, strict=True):
            gate.order.assign(orders[group.channels])
            gate.rate.assign(rate)
        mask = self.gates.mask(orders, rates)
        for name, slots in self.groups.slots.items():
            layer = self.model.get_layer(name)
            for slot in slots:
                variable = _mask_variable(layer, slot.weight, slot.role)
                if variable is not None:
                    kept = np.zeros(len(slot.channels), np.float32)
                    kept[slot.kept(mask)] = 1
                    variable.assign(kept)

    def score_variables(self) -> list[keras.Variable]:
        """Returns the gates' scores, group by group: gradients by their `.value` on a tape are the importances."""
        return [gate.score for gate in self._gates]


def _mask_variable(layer: keras.Layer, weight: str, role: str) -> keras.Variable | None:
    if weight != "kernel":
        return None
    return layer.out_mask if role == "out" else layer.in_mask


def _placement(
    model: keras.Model, groups: ChannelGroups, sites: Sequence[GateSite]
) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the batch norms that have a gate, and the layers after which a shared gate acts: layer name to group."""
    producer = {id(call.outputs[0]): call for call in model_calls(model)}
    scored: dict[str, int] = {}
    shared: dict[str, int] = {}
    for group, mine in enumerate(sites_by_group(sites, groups)):
        norm = _norm_before(producer, mine[0].tensor) if len(mine) == 1 else None
        if norm is not None:
            scored[norm] = group
        else:
            shared.update({site.layer: group for site in mine})
    return scored, shared


def _norm_before(producer: dict[int, Any], tensor: keras.KerasTensor) -> str | None:
    """Returns the batch norm that produces a tensor, or the input of the ReLU that does; None if there is none."""
    call = producer[id(tensor)]
    if isinstance(call.layer, keras.layers.ReLU):
        call = producer[id(call.inputs[0])]
    stock = keras.layers.BatchNormalization | FusedBatchNormalization
    return call.name if isinstance(call.layer, stock) else None
