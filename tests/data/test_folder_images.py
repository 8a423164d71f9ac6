import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.jpeg_tree import digits_tree
from tfprune.data.folder_images import folder_images
from tfprune.errors import ConfigError, DataUnavailableError


@pytest.fixture
def tree(tmp_path):
    return digits_tree(tmp_path / "tree", classes=3, train=2, test=1, side=8)


def test_images_in_alphabetical_order(tree):
    shutil.copy(tree / "val/n00/n00_002.JPEG", tree / "train/n01/a.png")
    shutil.copy(tree / "val/n00/n00_002.JPEG", tree / "train/n01/.hidden.jpg")
    (tree / "train/n01/notes.txt").write_text("no image")
    (tree / "train/.cache").mkdir()
    train, val, classes = folder_images(tree)
    assert classes == ("n00", "n01", "n02")
    paths = [train.describe(position) for position in range(len(train))]
    names = ["n00/n00_000", "n00/n00_001", "n01/a.png", "n01/n01_000", "n01/n01_001", "n02/n02_000", "n02/n02_001"]
    assert paths == [str(tree / "train" / (name if "." in name else f"{name}.JPEG")) for name in names]
    np.testing.assert_array_equal(train.labels(np.array([6, 0, 2])), [2, 0, 1])
    contents, label = train.read(tf.constant(4, tf.int64))
    assert contents.numpy() == (tree / "train/n01/n01_001.JPEG").read_bytes()
    assert (len(val), int(label), label.dtype) == (3, 1, tf.int64)


def test_classes_must_agree(tree):
    shutil.rmtree(tree / "val/n01")
    with pytest.raises(ConfigError, match="class n01 of train is missing in val; add val/n01, or remove"):
        folder_images(tree)
    shutil.copytree(tree / "train/n01", tree / "val/n01")
    for number in range(5):
        shutil.copytree(tree / "train/n01", tree / f"val/x{number}")
    with pytest.raises(ConfigError, match="classes x0, x1, x2 and 2 more of val are missing in train"):
        folder_images(tree)


def test_missing_folders_and_images(tree, tmp_path):
    with pytest.raises(DataUnavailableError, match=r"cannot read .*/none/train: No such file or directory; expected"):
        folder_images(tmp_path / "none")
    for file in (tree / "train/n02").iterdir():
        file.unlink()
    with pytest.raises(DataUnavailableError, match=r"no images in class n02 of .*/tree/train; expected train/CLASS"):
        folder_images(tree)
    shutil.rmtree(tree / "val")
    (tree / "val").mkdir()
    shutil.rmtree(tree / "train/n02")
    with pytest.raises(DataUnavailableError, match="val holds no images; expected"):
        folder_images(tree)
    shutil.copy(tree / "train/n01/n01_000.JPEG", tree / "val")
    with pytest.raises(DataUnavailableError, match="images without folders of classes; sort them"):
        folder_images(tree)
