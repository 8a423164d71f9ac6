"""What a run wrote for TensorBoard."""

from pathlib import Path

import numpy as np
import tensorflow as tf


def read_events(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    """Scalars and histograms of a folder's event files, by tag and step."""
    return {
        (value.tag, event.step): tf.make_ndarray(value.tensor)
        for file in folder.glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }


def check_histogram(bins: np.ndarray, values: np.ndarray) -> None:
    """Compares TensorBoard's buckets, rows of left edge, right edge and count, with the values themselves."""
    assert bins[:, 2].sum() == values.size
    np.testing.assert_allclose((bins[0, 0], bins[-1, 1]), (values.min(), values.max()), rtol=1e-5)
