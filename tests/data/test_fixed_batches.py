import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.data import ImageData, fixed_batches, load_data


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 13), st.integers(1, 15), st.booleans())
def test_everything_once_in_file_order(count, batch_size, drop):
    images = np.random.default_rng(0).integers(0, 256, (count, 2, 3, 1), np.uint8)
    labels = np.arange(count)
    data = ImageData("made up", count, images, labels, images, labels, (100.0,), (50.0,), True, 1)
    batches = list(fixed_batches(images, labels, data, batch_size, drop_remainder=drop))
    kept = count - count % batch_size if drop else count
    assert len(batches) == -(-kept // batch_size)
    if not kept:
        return
    np.testing.assert_array_equal(np.concatenate([b["labels"] for b in batches]), labels[:kept])
    np.testing.assert_array_equal(np.concatenate([b["images"] for b in batches]), data.normalize(images[:kept]))
    assert all(len(b["labels"]) == batch_size for b in batches[:-1])


@pytest.mark.parametrize(("drop", "length"), [(True, 256), (False, None)])
def test_shapes_are_static_where_they_can_be(drop, length):
    data = load_data("digits")
    spec = fixed_batches(data.test_images, data.test_labels, data, 256, drop).element_spec
    assert spec["images"].shape.as_list() == [length, 8, 8, 1]
    assert spec["labels"].shape.as_list() == [length]
    assert spec["labels"].dtype == np.int64
