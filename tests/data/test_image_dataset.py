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
