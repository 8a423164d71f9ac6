import hashlib
import shutil

import numpy as np
import pytest

from tfprune.data import load_data, search_subsets
from tfprune.errors import DataUnavailableError


@pytest.fixture(scope="module")
def cifar(shared):
    return load_data("cifar10", shared / "data" / "tfds")


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.slow
def test_golden_arrays(cifar, golden):
    assert cifar.name == "CIFAR10"
    assert sha(cifar.train_images) == str(golden["sha_train_x"])
    assert sha(cifar.test_images) == str(golden["sha_test_x"])
    assert sha(cifar.train_labels.astype(np.uint8)) == str(golden["sha_train_y"])
    assert sha(cifar.test_labels.astype(np.uint8)) == str(golden["sha_test_y"])
    np.testing.assert_array_equal(cifar.test_images[:64], golden["test64_images"])
    np.testing.assert_allclose(cifar.normalize(cifar.test_images[:64]), golden["test64_x"], atol=1e-6)


@pytest.mark.slow
def test_golden_subsets(cifar, golden):
    subsets = search_subsets(cifar)
    np.testing.assert_array_equal(subsets.validation, golden["val_index"])
    np.testing.assert_array_equal(subsets.training, golden["train_sub_index"])


@pytest.fixture
def copy(shared, tmp_path):
    """Prepared data of which a test may damage anything, without the images."""
    source, folder = shared / "data" / "tfds" / "cifar10" / "3.0.2", tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        shutil.copyfile(source / name, folder / name)
    return folder


def test_damaged_data_is_said_to_be_damaged(copy, tmp_path):
    def complaint():
        with pytest.raises(DataUnavailableError, match="cannot be read") as raised:
            load_data("cifar10", tmp_path)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert str(copy) in complaint()  # no images
    for split in ("train", "test"):
        (copy / f"cifar10-{split}.tfrecord-00000-of-00001").write_bytes(b"no record" * 100)
    complaint()
    (copy / "dataset_info.json").write_text("{")
    complaint()
