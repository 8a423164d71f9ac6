"""Inputs of a user's data, batch by batch."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError

_BATCH = 64


def image_batches(data: Any, setting: str = "recalibrate") -> Iterator[dict[str, Any]]:
    """The inputs in some data, as the batches that `recalibrate_batch_norm` takes.

    Args:
        data: A `tf.data.Dataset` or other iterable of batches: `(x, y)`, `x`, or mappings with `images`. Or arrays
            `(x, y)` or `x`, which are taken 64 examples at a time.
        setting: What the data was given as, for messages.

    Yields:
        Mappings with `images`.

    Raises:
        ConfigError: The data is nothing of these, or endless.
    """
    arrays = data if isinstance(data, tuple) and data and hasattr(data[0], "shape") else (data,)
    if hasattr(arrays[0], "shape"):
        images = arrays[0]
        for start in range(0, len(images), _BATCH):
            yield {"images": images[start : start + _BATCH]}
        return
    if not isinstance(data, Iterable) or isinstance(data, str | Mapping):
        raise ConfigError(
            f"{setting}: expected batches (x, y) or x, such as a tf.data.Dataset, or arrays, "
            f"received {type(data).__name__}"
        )
    if isinstance(data, tf.data.Dataset) and data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ConfigError(f"{setting}: expected a finite dataset, received one that repeats for ever; use .take(n)")
    for batch in data:
        yield {"images": _images(batch, setting)}


def _images(batch: Any, setting: str) -> Any:
    if isinstance(batch, Mapping):
        if "images" not in batch:
            raise ConfigError(f"{setting}: expected batches with 'images', received {', '.join(map(str, batch))}")
        return batch["images"]
    images = batch[0] if isinstance(batch, tuple | list) and len(batch) else batch
    if np.ndim(images) < 2:
        raise ConfigError(
            f"{setting}: expected batches of examples, received one of shape {np.shape(images)}; batch the data first"
        )
    return images
