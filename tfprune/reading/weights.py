"""What weights of a file must be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfprune.reading.content import RefusedError, shown


def check_weights(arrays: Mapping[str, Any]) -> None:
    """Checks that weights are finite numbers within the range of float32.

    Args:
        arrays: Weights, biases, scores or statistics by name. Any type of number, bfloat16 and bool included.

    Raises:
        RefusedError: An array has others; the message names the first such array.

    Example:
        >>> check_weights({"conv/kernel": np.ones(3), "conv/bias": np.array([0, np.nan])})
        Traceback (most recent call last):
            ...
        tfprune.reading.content.RefusedError: its array 'conv/bias' has NaN or infinite numbers
    """
    for name, given in arrays.items():
        array = np.asarray(given)
        if not np.can_cast(array.dtype, np.float32, "same_kind"):
            raise RefusedError(f"its array {shown(name)} has the type {array.dtype.name:.40}, which is none of numbers")
        with np.errstate(over="ignore"):
            if np.isfinite(array.astype(np.float32, copy=False)).all():
                continue
        wrong = "numbers beyond float32" if np.isfinite(array).all() else "NaN or infinite numbers"
        raise RefusedError(f"its array {shown(name)} has {wrong}")
