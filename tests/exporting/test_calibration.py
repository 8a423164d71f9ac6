import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.exporting.calibration import EXAMPLES, batches_of_size, calibration_batches

IMAGES = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
LABELS = np.arange(5)


@pytest.fixture(scope="module")
def one():
    inputs = keras.Input((None, 3), name="image")
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


@pytest.fixture(scope="module")
def two():
    inputs = [keras.Input((3,), name="zoom"), keras.Input((1,), dtype="int32", name="ask")]
    return keras.Model(inputs, keras.layers.Concatenate()(inputs))


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize(
    "data",
    [
        IMAGES,
        [IMAGES],
        (IMAGES,),
        (IMAGES, LABELS),
        (IMAGES, LABELS, LABELS),
        {"image": IMAGES},
        {"image": IMAGES, "other": LABELS},
        {"images": IMAGES, "labels": LABELS},
        IMAGES.astype(np.uint8),
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(2),
        tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2),
        tf.data.Dataset.from_tensor_slices({"images": IMAGES, "labels": LABELS}).batch(2),
    ],
)
def test_every_kind_of_data(one, data):
    received = joined(calibration_batches(one, data))
    assert list(received) == ["image"]
    assert received["image"].dtype == np.float32
    np.testing.assert_array_equal(received["image"], IMAGES)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "dataset", "dataset of dicts"])
def test_several_inputs(two, kind):
    zoom, ask = np.ones((5, 3), np.float32), np.arange(5)[:, None]
    named = {"ask": ask, "zoom": zoom}
    data = {
        "list": [zoom, ask],
        "dict": named,
        "tuple": ((zoom, ask), LABELS),
        "dataset": tf.data.Dataset.from_tensor_slices(((zoom, ask), LABELS)).batch(2),
        "dataset of dicts": tf.data.Dataset.from_tensor_slices((named, LABELS)).batch(2),
    }[kind]
    received = joined(calibration_batches(two, data))
    np.testing.assert_array_equal(received["zoom"], zoom)
    np.testing.assert_array_equal(received["ask"], ask)
    assert received["ask"].dtype == np.int32


def test_arrays_are_sampled_from_end_to_end(one):
    many = np.zeros((3 * EXAMPLES, 1, 3)) + np.arange(3 * EXAMPLES)[:, None, None]
    received = joined(calibration_batches(one, many))["image"][:, 0, 0]
    assert len(received) == EXAMPLES
    assert received[0] == 0
    assert received[-1] == 3 * EXAMPLES - 1
    assert set(np.diff(received)) == {3, 4}


def test_an_endless_dataset_is_cut(one):
    endless = tf.data.Dataset.from_tensors(np.zeros((1, 3), np.float32)).repeat().batch(EXAMPLES - 1)
    assert [len(batch["image"]) for batch in calibration_batches(one, endless)] == [EXAMPLES - 1, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "received none; pass data="),
        (IMAGES[:0], "at least one example"),
        (tf.data.Dataset.from_tensor_slices(IMAGES[:0]).batch(2), "at least one example"),
        (([IMAGES, IMAGES], LABELS), r"expected 1 inputs \(image\), received 2"),
        ({"picture": IMAGES}, r"expected 1 inputs \(image\), received picture; add image"),
        (IMAGES[..., :2], r"the input image: expected arrays of shape \[examples, any, 3\], received \[5, 2, 2\]"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), r"received \[2, 3\]; give batches"),
    ],
)
def test_unfit_data(one, data, message):
    with pytest.raises(ConfigError, match=message):
        calibration_batches(one, data)


def test_batches_of_one_size_miss_no_example():
    batches = [{"a": np.arange(5), "b": np.arange(5)[:, None]}, {"a": np.array([9]), "b": np.array([[9]])}]
    received = list(batches_of_size(batches, 2))
    assert [batch["a"].tolist() for batch in received] == [[0, 1], [2, 3], [4, 0], [9, 9]]
    assert all(np.array_equal(batch["a"], batch["b"][:, 0]) for batch in received)
