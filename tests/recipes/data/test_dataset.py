"""Changed views in the batches of images that are in memory, and of those that are read from the disk."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.jpeg_tree import digits_tree
from tfprune.errors import ConfigError, TfpruneError
from tfprune.recipes.data import (
    AugMix,
    BatchRequest,
    GaussianNoise,
    ImageData,
    ImageDataset,
    View,
    fixed_batches,
    load_data,
    open_data,
)

OPTIONS = {"batch_size": 10, "epochs": 2, "seed": 5}


def test_a_request_gives_the_same_batches_each_time():
    digits = load_data("digits")
    assert isinstance(digits, ImageDataset)
    assert isinstance(digits, ImageData)
    assert (digits.train_examples, digits.test_examples, digits.input_shape) == (1437, 360, (8, 8, 1))
    assert digits.notes() == ()
    options = {"batch_size": 50, "epochs": 2, "seed": 4, "start_step": 30, "views": 2, "color_jitter": True}
    ours, expected = digits.training_batches(BatchRequest(**options)), digits.training_batches(BatchRequest(**options))
    assert len(ours) == len(expected) == 2 * 28 - 30
    assert digits.steps_per_epoch(50) == 28
    for one, other in zip(ours.take(2), expected.take(2), strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
    tests = list(digits.test_batches(100))
    assert [len(batch["labels"]) for batch in tests] == [100, 100, 100, 60]
    last = list(fixed_batches(digits.test_images, digits.test_labels, digits, 100))[-1]
    np.testing.assert_array_equal(tests[-1]["images"], last["images"])


@pytest.mark.parametrize("batch_size", [0, 1438])
def test_batches_that_cannot_be_filled(batch_size):
    with pytest.raises(ConfigError, match=f"from 1 to the 1437 training images, received {batch_size}"):
        load_data("digits").steps_per_epoch(batch_size)


def test_plain_batches_show_training_images_as_they_are():
    digits = load_data("digits")
    positions = np.array([7, 3, 1400, 9, 2])
    for start, drop, expected in ((0, False, [[7, 3], [1400, 9], [2]]), (1, True, [[1400, 9]])):
        batches = list(digits.plain_batches(2, positions, start_step=start, drop_remainder=drop))
        assert [batch["positions"].numpy().tolist() for batch in batches] == expected
        for batch, some in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(batch["images"], digits.normalize(digits.train_images[some]))
            np.testing.assert_array_equal(batch["labels"], digits.train_labels_at(np.array(some)))
    whole = list(digits.plain_batches(1000))
    assert np.concatenate([batch["positions"] for batch in whole]).tolist() == list(range(1437))
    np.testing.assert_array_equal(np.concatenate([batch["labels"] for batch in whole]), digits.train_labels)


@pytest.mark.parametrize("options", [{}, {"views": 2, "color_jitter": True}])
def test_rows_of_a_batch_are_those_of_the_whole_batch(options):
    gray = load_data("digits")
    colored = {part: np.repeat(getattr(gray, part), 3, axis=-1) for part in ("train_images", "test_images")}
    digits = replace(gray, mean=gray.mean * 3, std=gray.std * 3, **colored)
    options = {"batch_size": 9, "epochs": 1, "seed": 4, **options}
    for whole, some in zip(
        digits.training_batches(BatchRequest(**options)).take(2),
        digits.training_batches(BatchRequest(**options, rows=(4, 0))).take(2),
        strict=True,
    ):
        for name in ("images", "labels"):
            np.testing.assert_array_equal(some[name], whole[name].numpy()[[4, 0]])
    with pytest.raises(ConfigError, match=r"rows of a batch, 0 to 8, at least one, received \[9\]"):
        digits.training_batches(BatchRequest(**options, rows=[9]))


class Inverted(View):
    """Black for white."""

    def __call__(self, images, seeds):
        return 255 - images


class Failing(View):
    """A view with a mistake in it."""

    def __call__(self, images, seeds):
        def fail(images):
            raise ZeroDivisionError("mistake")

        return tf.ensure_shape(tf.numpy_function(fail, [images], tf.float32, stateful=False), images.shape)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return digits_tree(tmp_path_factory.mktemp("images"), classes=3, train=8, test=1, side=24)


@pytest.fixture(params=["memory", "disk"])
def data(request, tree):
    """24 images with the mean 0.5 and the deviation 0.25."""
    if request.param == "disk":
        return open_data(tree, image_size=12, resize_size=14, mean=(0.5,) * 3, std=(0.25,) * 3)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (24, 12, 12, 3), np.uint8), random.integers(0, 3, 24)
    return ImageData("random", 3, images, labels, images[:4], labels[:4], (127.5,) * 3, (63.75,) * 3, True, 1)


def batches(data, **options):
    found = data.training_batches(BatchRequest(**OPTIONS | options))
    return [{name: values.numpy() for name, values in batch.items()} for batch in found]


def same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["labels"], other["labels"])


def test_a_view_gets_the_augmented_image_before_normalization(data):
    plain, turned, three = batches(data), batches(data, view=Inverted()), batches(data, view=Inverted(), views=3)
    assert len(plain) == 4
    for one, other, several in zip(plain, turned, three, strict=True):
        np.testing.assert_allclose(other["images"], -one["images"], atol=1e-5)
        np.testing.assert_array_equal(several["images"][:, 0], one["images"])
        for view in (1, 2):
            np.testing.assert_array_equal(several["images"][:, view], other["images"])
        np.testing.assert_array_equal(several["labels"], one["labels"])


@pytest.mark.parametrize(
    "view", [AugMix(), pytest.param(GaussianNoise(0.2), marks=pytest.mark.slow)], ids=["augmix", "noise"]
)
def test_batches_are_functions_of_seed_and_step(data, view):
    whole = batches(data, view=view, views=3)
    same(batches(data, view=view, views=3, start_step=3), whole[3:])
    same(
        batches(data, view=view, views=3, rows=(3, 0)),
        [{name: values[[3, 0]] for name, values in batch.items()} for batch in whole],
    )
    clean, first, second = (np.concatenate([batch["images"][:, view] for batch in whole]) for view in range(3))
    assert np.abs(clean).max() <= 2 + 1e-5
    assert np.abs(first).max() <= 2 + 1e-5
    for one, other in ((clean, first), (clean, second), (first, second)):
        assert np.mean(np.any(one != other, (1, 2, 3))) > 0.8
    single = batches(data, view=view)
    assert single[0]["images"].shape == (10, 12, 12, 3)
    assert np.any(single[0]["images"] != clean[:10])
    assert np.any(single[0]["images"] != single[2]["images"])


def test_a_broken_image_is_replaced_and_counted(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "copy")
    (copy / "train/n02/n02_001.JPEG").write_bytes(b"")
    data = open_data(copy, image_size=12, resize_size=14)
    (batch,) = batches(data, view=AugMix(), views=3, batch_size=24, epochs=1)
    assert len({image.tobytes() for image in batch["images"][:, 0]}) == 23
    assert len({image.tobytes() for image in batch["images"]}) == 23
    assert data.notes()[0].startswith("1 training image of 24 could not be read")


def test_an_error_in_a_view_is_not_a_broken_image(data):
    with pytest.raises(tf.errors.OpError, match="ZeroDivisionError"):
        batches(data, view=Failing())
    assert data.notes() == ()


def test_no_views(data):
    with pytest.raises(TfpruneError, match=r"views: expected a whole number from 1 to .*, received 0"):
        batches(data, view=AugMix(), views=0, epochs=1)
