"""What the edges of a model's units carry on given data."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.forward import Forward
from tfprune.criteria.second_moments import second_moments
from tfprune.dpp import edge_kernels
from tfprune.errors import ConfigError
from tfprune.graph import Call, KernelReads, channel_groups


class EdgeKernels:
    """Second moments of what the edges of each unit carry: C times w w', entry by entry.

    C are the second moments of what the kernel reads, in the model as it is and in inference mode, over examples and
    positions. An edge is a single weight: of a convolution there are as many for each filter as its window has
    positions times the channels that it reads.

    Args:
        model: A functional or sequential model. It is not changed.
        weights: The kernels by name, of `prunable_weights`.
        data: The data.

    Attributes:
        reads: How each kernel reads, by name.

    Raises:
        ConfigError: A kernel is of a layer that reads in another way than dense layers and convolutions.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), edge kernels.
    """

    def __init__(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: CriterionData) -> None:
        groups = channel_groups(model)
        self.reads = {name: _reads(groups.layers[name.rpartition("/")[0]], name) for name in weights}
        self._weights = {
            name: reads.units(variable)
            for (name, variable), reads in zip(weights.items(), self.reads.values(), strict=True)
        }
        self._moments = self._measured(Forward(model, groups), data)

    def carried(self, name: str) -> np.ndarray:
        """The diagonal of all kernels of a weight, float64 `[groups, units, features]`."""
        squares = np.diagonal(self._moments[name], axis1=1, axis2=2)
        return np.square(self._weights[name], dtype=np.float64) * squares[:, None]

    def kernels(self, name: str, group: int, units: np.ndarray) -> np.ndarray:
        """The kernels of some units of a group, float64 `[units, features, features]`."""
        return edge_kernels(self._weights[name][group, units], self._moments[name][group])

    def _measured(self, forward: Forward, data: CriterionData) -> dict[str, np.ndarray]:
        names = {id(reads.layer): name for name, reads in self.reads.items()}

        def look(call: Call, tensors: Mapping[int, tf.Tensor]) -> Iterator[tuple[str, tf.Tensor]]:
            if name := names.get(id(call.layer)):
                for rows in self.reads[name].parts(tensors[id(call.inputs[0])]):
                    yield name, rows

        return second_moments(forward, data, look)


def _reads(layer: Any, name: str) -> KernelReads:
    reads = KernelReads.of(layer)
    if reads is None:
        raise ConfigError(
            f"criterion dpp_edge: expected kernels of dense layers and convolutions, received {name} of a "
            f"{type(layer).__name__}; ignore it"
        )
    return reads
