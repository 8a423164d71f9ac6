"""Examples on which a converter measures the ranges of activations, from arrays or a `tf.data.Dataset`."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from tfprune.arrays import checked_array, place_in
from tfprune.batches.inputs import InputCheck
from tfprune.batches.source import Source, rows_of
from tfprune.errors import ConfigError

EXAMPLES = 1024
"""Examples used for calibration: evenly spread over longer arrays, the first ones of a dataset."""

Batch = dict[str, np.ndarray]
"""Arrays by the names of the input tensors."""

_BATCH = 32


def calibration_batches(model: keras.Model, data: Any) -> list[Batch]:
    """Returns inputs of a model from data, batch by batch, by the names of its input tensors.

    Args:
        model: A functional or sequential model.
        data: Examples: an array `[examples, ...]`, a list or dict of arrays for several inputs, a tuple
            `(inputs, labels)`, or batches of one of these, such as a `tf.data.Dataset`, which may be endless. Labels
            are not used.

    Returns:
        The batches, with at most `EXAMPLES` examples in total.

    Raises:
        ConfigError: There are no data, they do not fit the inputs of the model, or are not finite.
    """
    if data is None:
        raise ConfigError("expected examples to calibrate int8 with, received none; pass data=training images")
    check = InputCheck(model)
    source = Source(data, inputs=check.names)
    arrays = source.arrays
    read = (check(batch.x, batch.place) for batch in source.batches(bounded=True))
    found = read if arrays is None else _array_batches(arrays[0], check)
    batches = list(_limited(_by_name(model, x) for x in found))
    if not batches:
        raise ConfigError("data: expected at least one example to calibrate int8 with, received none; pass more data")
    return batches


def batches_of_size(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yields the examples of batches in batches of one size; where some are missing, the first ones come again."""
    for batch in batches:
        examples = min(map(len, batch.values()))
        for start in range(0, examples, size):
            chosen = np.arange(start, start + size) % examples
            yield {name: array[chosen] for name, array in batch.items()}


def _array_batches(x: Any, check: InputCheck) -> Iterator[Any]:
    """Yields inputs from everywhere in arrays, as files are often sorted by class."""
    whole = keras.tree.map_structure(lambda leaf: checked_array(leaf, "data: inputs", finite=False), x)
    size = len(keras.tree.flatten(whole)[0])
    chosen = np.linspace(0, size - 1, min(size, EXAMPLES)).round().astype(np.int64) if size else np.zeros(0, np.int64)
    for start in range(0, len(chosen), _BATCH):
        rows = chosen[start : start + _BATCH]
        yield check(rows_of(whole, rows), place_in(rows))


def _limited(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Cuts batches off after `EXAMPLES` examples."""
    left = EXAMPLES
    for batch in batches:
        size = min(map(len, batch.values()))
        if size:
            yield {name: array[:left] for name, array in batch.items()}
        left -= size
        if left <= 0:
            return


def _by_name(model: keras.Model, x: Any) -> Batch:
    """Returns checked inputs as arrays of the types and names of the model's."""
    leaves = keras.tree.flatten(x)
    return {each.name: np.asarray(leaf).astype(each.dtype) for each, leaf in zip(model.inputs, leaves, strict=True)}
