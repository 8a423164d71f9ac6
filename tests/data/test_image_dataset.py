from dataclasses import replace

import numpy as np
import pytest

from tfprune.data import ImageData, ImageDataset, fixed_batches, load_data, training_batches
from tfprune.errors import ConfigError


def test_images_in_memory_give_the_batches_of_the_functions():
    digits = load_data("digits")
    assert isinstance(digits, ImageDataset)
    assert isinstance(digits, ImageData)
    assert (digits.train_examples, digits.test_examples, digits.input_shape) == (1437, 360, (8, 8, 1))
    assert digits.notes() == ()
    options = {"batch_size": 50, "epochs": 2, "seed": 4, "start_step": 30, "views": 2, "color_jitter": True}
    ours, expected = digits.training_batches(**options), training_batches(digits, **options)
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
    digits = replace(load_data("digits"), train_images=np.repeat(load_data("digits").train_images, 3, axis=-1))
    options = {"batch_size": 9, "epochs": 1, "seed": 4, **options}
    for whole, some in zip(
        digits.training_batches(**options).take(2), digits.training_batches(**options, rows=(4, 0)).take(2), strict=True
    ):
        for name in ("images", "labels"):
            np.testing.assert_array_equal(some[name], whole[name].numpy()[[4, 0]])
    with pytest.raises(ConfigError, match=r"rows of a batch, 0 to 8, at least one, received \[9\]"):
        digits.training_batches(**options, rows=[9])
