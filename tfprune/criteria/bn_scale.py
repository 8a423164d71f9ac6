"""Scales of batch norms."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from tfprune.criteria.aggregation import Normalize, Reduce, check_choice, combine, normalized, some_judged
from tfprune.criteria.criterion_data import DataUse
from tfprune.criteria.kernel_axis import sum_by_unit
from tfprune.criteria.registry import register
from tfprune.graph import ChannelGroups


@register("bn_scale")
@dataclass(frozen=True)
class BNScale:
    """The absolute scale `gamma` with which batch norm multiplies a unit.

    Attributes:
        reduce: How the scales of a unit with several batch norms become one: `sum`, `mean` or `max`.
        normalize: Divide by the `mean` or `max` of the group; `none` ranks the scales as they are, as in the paper.

    Reference:
        Liu et al., Learning Efficient Convolutional Networks through Network Slimming (ICCV 2017).
    """

    name: ClassVar[str] = "bn_scale"
    uses_data: ClassVar[DataUse] = "never"
    reduce: Reduce = "mean"
    normalize: Normalize = "none"

    def __post_init__(self) -> None:
        check_choice("reduce", self.reduce, Reduce)
        check_choice("normalize", self.normalize, Normalize)

    def scores(self, model: keras.Model, groups: ChannelGroups, data: Any = None) -> np.ndarray:
        """Scales `[channels]`; NaN for units that no batch norm scales.

        Raises:
            ConfigError: No batch norm scales a prunable unit.
        """
        scores = combine(_scales(groups), groups.channels, self.reduce)
        complaint = "criterion bn_scale: no prunable unit has a batch norm with scale=True; use l2 or taylor"
        return normalized(some_judged(scores, complaint), groups, self.normalize)


def _scales(groups: ChannelGroups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for path, slots in groups.slots.items():
        layer: Any = groups.layers[path]
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        for slot in slots:
            if slot.weight == "gamma":
                units, sums = sum_by_unit(slot.channels, np.abs(np.asarray(layer.gamma, np.float64)))
                # A unit that stands at several positions has several scales: their mean.
                yield units, sums / sum_by_unit(slot.channels, np.ones(len(slot.channels)))[1]
