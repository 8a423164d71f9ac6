"""Random inputs and weights of trials, in which a layer, a model or a recorded call is compared with another one."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import keras
import numpy as np

_EXAMPLES, _OPEN_SIZE = 2, 6
_ZEROS = 0.2  # a mask with more of them may hide whole rows


def definite_shape(
    shape: Sequence[int | None], examples: int = _EXAMPLES, open_size: int = _OPEN_SIZE
) -> tuple[int, ...]:
    """Returns a shape with sizes on its open axes.

    Args:
        shape: The shape of a symbolic tensor, which may be that of a single value.
        examples: Size of the first axis, if that is open.
        open_size: Size of other open axes.
    """
    return tuple(size or (open_size if axis else examples) for axis, size in enumerate(shape))


def random_array(shape: Sequence[int], dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Returns normal values; zeros and ones for whole numbers, which may be numbers of tokens, or masks.

    Args:
        shape: The shape.
        dtype: The type of the tensor that they are for.
        rng: Draws them.
    """
    if keras.backend.is_float_dtype(dtype):
        return rng.normal(0, 1, shape)
    return (rng.uniform(size=shape) > _ZEROS).astype(int)


def random_tensor(shape: Sequence[int], dtype: str, rng: np.random.Generator) -> Any:
    """Returns a tensor of the values of `random_array`, which has the same arguments."""
    return keras.ops.convert_to_tensor(random_array(shape, dtype, rng), dtype)


def random_weight(variable: keras.Variable) -> np.ndarray:
    """Returns random values in place of a variable's own, which may be zeros; the same each time.

    Variables of one shape have different values. Whole numbers, such as seeds, stay as they are.
    """
    if not keras.backend.is_float_dtype(variable.dtype):
        return np.asarray(variable)
    values = np.random.default_rng(crc32(variable.path.encode())).random(variable.shape, np.float32)
    return (2 * values - 1 if values.ndim > 1 else values + 0.5).astype(variable.dtype)  # a variance is positive
