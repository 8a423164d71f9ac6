"""Arrays that users give: dense, of real numbers, finite.

`checked_array` is the one check of what an array holds; what shapes and labels must be is for its callers to say.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError, first_line

Place = Callable[[tuple[int, ...]], str]
"""From the index of a value to words on where it is."""

_KINDS = "biuf"


def place_in(rows: Sequence[int] | np.ndarray, of: str = "") -> Place:
    """Returns the words on where a value is, for an array whose rows are those of another one.

    Args:
        rows: The number that each row has there.
        of: What the other array is, such as ` of batch 3`.

    Example:
        >>> place_in(range(64, 128))((2, 0))
        'at [66, 0]'
    """

    def place(index: tuple[int, ...]) -> str:
        return f"at {[int(rows[index[0]]), *index[1:]]}{of}"

    return place


def array_shape(value: Any) -> tuple[int | None, ...] | None:
    """Returns the shape of an array or tensor of any library; None if a value is neither."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tf.TensorShape):
        return None if shape.rank is None else tuple(shape.as_list())
    return tuple(shape) if isinstance(shape, tuple) else None


def check_dense(value: Any, name: str) -> None:
    """Raises `ConfigError` if a value is a sparse or ragged array; `name` as for `checked_array`."""
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices) or hasattr(value, "tocoo"):
        raise ConfigError(f"{name}: expected a dense array, received {type(value).__name__}; make it dense first")


def checked_array(
    value: Any, name: str, *, finite: bool = True, within: Any = np.float32, place: Place | None = None
) -> np.ndarray:
    """Returns a value as an array of real numbers.

    Args:
        value: An array or tensor of any library that NumPy can read, or nested sequences of numbers.
        name: What it is, for messages, such as `data: the input image`.
        finite: Whether NaN and infinities are refused.
        within: Values beyond the range of this number format are refused as infinite, where the array's is wider.
        place: Says where a value is, given its index. Default: the index itself.

    Returns:
        The array in its own number format; a tensor in the memory of the processor is not copied.

    Raises:
        ConfigError: It is sparse or ragged, holds other than real numbers, or a number is not finite.

    Example:
        >>> checked_array([[1, 2], [3, 4]], "kernel").shape
        (2, 2)
    """
    check_dense(value, name)
    try:
        array = np.asarray(value)
        kind = tf.as_dtype(array.dtype)
    except Exception as error:  # arrays of other libraries raise anything
        reason = first_line(error)
        raise ConfigError(f"{name}: expected an array of numbers, received {type(value).__name__}: {reason}") from error
    if array.dtype.kind not in _KINDS and not kind.is_floating:
        raise ConfigError(
            f"{name}: expected real numbers, received {type(value).__name__} of type {array.dtype}; convert it to a "
            "type such as float32"
        )
    if finite and kind.is_floating:
        check_finite(array, name, within=within, place=place)
    return array


def check_finite(array: np.ndarray, name: str, *, within: Any = np.float32, place: Place | None = None) -> None:
    """Raises `ConfigError` if a number of an array is NaN or infinite; arguments as for `checked_array`."""
    wider = array.dtype.itemsize > np.dtype(within).itemsize
    with np.errstate(invalid="ignore"):
        good = np.abs(array) <= tf.as_dtype(within).max if wider else np.isfinite(array)
    if good.all():
        return
    count, _, first = first_of(~good, array, place)
    beyond = " (or beyond " + np.dtype(within).name + ")" if wider else ""
    raise ConfigError(
        f"{name}: expected finite numbers, received {count:,} of {array.size:,} that are NaN or infinite{beyond}, "
        f"{first}; replace or remove them"
    )


def first_of(bad: np.ndarray, array: np.ndarray, place: Place | None) -> tuple[int, Any, str]:
    """Returns how many values of an array are bad, the first of them, and where it is in words.

    Args:
        bad: Which values are bad, at least one; bool, of the shape of the array.
        array: The array.
        place: Says where a value is, given its index. None: the index itself.

    Example:
        >>> first_of(np.array([False, True, True]), np.array([1, 7, 8]), None)[2]
        'the first at [1]: 7'
    """
    index = tuple(int(each) for each in np.unravel_index(int(np.argmax(bad)), array.shape))
    where = place(index) if place is not None else f"at {list(index)}"
    return int(np.count_nonzero(bad)), array[index], f"the first {where}: {array[index]}"
