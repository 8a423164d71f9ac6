"""Sums of absolute weights."""

from dataclasses import dataclass
from typing import ClassVar

from tfprune.criteria.magnitude import Magnitude
from tfprune.criteria.registry import register


@register("l1")
@dataclass(frozen=True)
class L1(Magnitude):
    """The L1 norm of the kernel slices of a unit, combined over the kernels that make and read it.

    Attributes:
        roles: See `Magnitude`; `("out",)` is the criterion of Li et al.
        reduce: See `Magnitude`.
        normalize: See `Magnitude`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tfprune.graph import channel_groups
        >>> inputs = keras.Input((2,))
        >>> x = keras.layers.Dense(2)(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(1)(x))
        >>> model.set_weights([np.array([[1, 3], [1, 1]]), np.zeros(2), np.array([[2], [-4]]), np.zeros(1)])
        >>> L1(reduce="sum", normalize="none").scores(model, channel_groups(model)).tolist()
        [4.0, 8.0]

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets (ICLR 2017); over groups: Fang et al., DepGraph (CVPR 2023).
    """

    name: ClassVar[str] = "l1"
    power: ClassVar[int] = 1
