import hashlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import data_fraction, data_names, load_data, loading, register_data, search_subsets
from tfprune.recipes.data import tfds as prepared_images


def test_names_in_any_case():
    assert data_names() == ("CIFAR10", "CIFAR100", "digits", "tiny-imagenet", "MNIST")
    assert load_data("DIGITS").name == "digits"


@pytest.mark.parametrize("name", ["SVHN", "", "CIFAR"])
def test_unknown_name_lists_the_known(name):
    with pytest.raises(ConfigError, match="CIFAR10, CIFAR100, digits") as raised:
        load_data(name)
    assert repr(name) in str(raised.value)


def test_own_data_sets(monkeypatch):
    monkeypatch.setattr(loading, "_SOURCES", dict(loading._SOURCES))
    register_data("Halves", lambda data_path: data_fraction(load_data("digits"), 0.5) if data_path == "here" else None)
    assert data_names()[-1] == "Halves"
    assert load_data("halves", "here").train_examples == 721
    with pytest.raises(ConfigError, match="'HALVES': expected a new name"):
        register_data("HALVES", load_data)


@pytest.fixture(scope="module")
def cifar(tfds_folder):
    return load_data("cifar10", tfds_folder)


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
def copy(tfds_folder, tmp_path):
    """Prepared data of which a test may damage anything, without the images."""
    source, folder = tfds_folder / "cifar10" / "3.0.2", tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        shutil.copyfile(source / name, folder / name)
    return folder


def test_damaged_data_is_reported(copy, tmp_path):
    def complaint():
        with pytest.raises(DataUnavailableError, match=r"cannot (be )?read") as raised:
            load_data("cifar10", tmp_path)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert str(copy) in complaint()  # no images
    for split in ("train", "test"):
        (copy / f"cifar10-{split}.tfrecord-00000-of-00001").write_bytes(b"no record" * 100)
    complaint()
    (copy / "dataset_info.json").write_text("{")
    complaint()


class Splits:
    """A prepared data set, as far as it is looked at: images of one value, which says their number."""

    name, data_dir, file_format = "mnist", "there", None

    def __init__(self, **examples):
        self.info = self
        self.splits = {split: type("Split", (), {"num_examples": count}) for split, count in examples.items()}

    def as_dataset(self, split, **settings):
        assert settings["shuffle_files"] is False
        assert list(settings["decoders"]) == ["image"]
        numbers = np.arange(self.splits[split].num_examples)
        files = [tf.io.encode_png(np.full((28, 28, 1), number, np.uint8)).numpy() for number in numbers]
        return tf.data.Dataset.from_tensor_slices({"image": files, "label": numbers % 10})


@pytest.fixture
def prepared(monkeypatch):
    def prepare(**examples):
        monkeypatch.setattr(prepared_images, "prepared_dataset", lambda name, path, url: Splits(**examples))

    return prepare


def test_images_are_neither_flipped_nor_cropped(prepared):
    prepared(train=5, test=3)
    data = load_data("mnist")
    assert (data.name, data.num_classes, data.input_shape) == ("MNIST", 10, (28, 28, 1))
    assert data.train_images[:, 3, 4, 0].tolist() == data.train_labels.tolist() == [0, 1, 2, 3, 4]
    assert data.test_labels.tolist() == [0, 1, 2]
    assert not data.flip
    assert data.crop_padding == 0
    for value, expected in ((0, -0.42421296), (255, 2.82148653)):
        assert data.normalize(np.full((1, 28, 28, 1), value, np.uint8))[0, 0, 0, 0] == pytest.approx(expected, abs=1e-5)


def test_a_damaged_split_is_reported(prepared):
    prepared(train=5)
    with pytest.raises(DataUnavailableError, match="mnist in there cannot be read"):
        load_data("mnist")


def test_split_and_values():
    data = load_data("digits")
    assert data.train_images.shape == (1437, 8, 8, 1)
    assert data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == np.int64
    assert data.train_images.max() == 255
    assert set(np.unique(data.train_images)) <= {round(gray * 255 / 16) for gray in range(17)}
    assert not data.flip
    assert data.crop_padding == 1
    assert data.num_classes == 10


def test_split_is_stratified_and_always_the_same():
    data, again = load_data("digits"), load_data("digits")
    np.testing.assert_array_equal(data.test_images, again.test_images)
    share = np.bincount(data.test_labels) / np.bincount(np.concatenate([data.test_labels, data.train_labels]))
    np.testing.assert_allclose(share, 360 / 1797, atol=0.005)
    assert data.test_labels[:12].tolist() == [1, 4, 8, 6, 5, 9, 9, 1, 3, 2, 2, 2]


def test_normalized_training_images_have_mean_0():
    data = load_data("digits")
    x = data.normalize(data.train_images)
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
