"""Second moments of what a model computes on data."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.criteria.criterion_data import CriterionData
from tfprune.criteria.forward import Forward
from tfprune.errors import ConfigError
from tfprune.graph import Call

Look = Callable[[Call, Mapping[int, tf.Tensor]], Iterable[tuple[Any, tf.Tensor]]]
"""From a call that has just run, and values of symbolic tensors by `id`, among them its inputs and outputs, to what is
to be measured there: names, and float64 rows `[..., rows, features]`."""


def second_moments(
    forward: Forward, data: CriterionData, look: Look, batches: int | None = None
) -> dict[Any, np.ndarray]:
    """Goes through the data once, and sums what it sees; no more than a batch's tensors are held at a time.

    Args:
        forward: Runs the model.
        data: The data; labels are not looked at.
        look: Says what is measured. Rows of the same name belong together, whatever batch or call they are of.
        batches: Stop after so many batches. Default: all.

    Returns:
        By name, the mean over all rows of their outer products, float64 `[..., features, features]`.

    Raises:
        ConfigError: The data cannot be used, or something that is measured is not finite.
    """
    sums: dict[Hashable, np.ndarray] = {}
    counts: dict[Hashable, int] = {}
    for x in data.inputs(batches):
        tensors = forward.inputs(x)
        for call in forward.calls:
            forward.run(call, tensors)
            for name, rows in look(call, tensors):
                products = tf.matmul(rows, rows, transpose_a=True).numpy()
                if not np.isfinite(products).all():
                    raise ConfigError(
                        f"data: expected finite values in layer {call.name}, received NaN or infinity; mend the data "
                        "or the model"
                    )
                if name in sums:
                    sums[name] += products
                else:
                    sums[name] = products
                counts[name] = counts.get(name, 0) + rows.shape[-2]
            forward.forget(call, tensors)
    return {name: total / counts[name] for name, total in sums.items()}
