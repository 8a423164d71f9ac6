import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.jpeg_tree import digits_tree
from tests.messages import message
from tests.recipes.data.image_bytes import black_png, jpeg, png
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import load_data
from tfprune.recipes.data.folders import folder_images

CLASSES = ("n02", "n01", "n03")


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


def test_pipes_and_devices_are_no_images(tree):
    names = folder_images(tree)[0]._paths
    os.mkfifo(tree / "train" / "n01" / "pipe.JPEG")
    (tree / "train" / "n01" / "zeros.JPEG").symlink_to("/dev/zero")
    (tree / "train" / "n01" / "image.png").mkdir()
    assert folder_images(tree)[0]._paths == names


def test_links_in_circles(tree):
    for place in (tree / "train" / "n01" / "loop.JPEG", tree / "train" / "loop"):
        place.symlink_to(place.name)
        assert "Too many levels of symbolic links; expected" in message(lambda: folder_images(tree))
        place.unlink()


def test_names_that_are_no_text(tree):
    name = os.fsencode(tree / "train" / "n00") + b"/\xff.JPEG"
    shutil.copy(tree / "train" / "n00" / "n00_000.JPEG", name)
    train = folder_images(tree)[0]
    last = int(np.flatnonzero(train.labels(np.arange(len(train))) == 0)[-1])
    assert train.read(tf.constant(last, tf.int64))[0].numpy() == (tree / "train/n00/n00_000.JPEG").read_bytes()


def save(path, shade, size=64):
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(path, np.full((size, size, 3), shade, np.uint8), scale=False, file_format="jpeg")


@pytest.fixture(params=["official", "processed"])
def root(tmp_path, request):
    root = tmp_path / "tiny-imagenet-200"
    for number, name in enumerate(CLASSES):
        for image in range(2):
            save(root / "train" / name / "images" / f"{name}_{image}.JPEG", 10 * number + image)
    lines = []
    for image, name in enumerate(("n03", "n01", "n02", "n01")):
        folder = root / "val" / ("images" if request.param == "official" else f"{name}/images")
        save(folder / f"val_{image}.JPEG", 100 + image)
        lines.append(f"val_{image}.JPEG\t{name}\t0\t0\t62\t62\n")
    if request.param == "official":
        (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def test_both_layouts(root):
    for path in (root, root.parent):
        data = load_data("Tiny-ImageNet", path)
        assert data.input_shape == (64, 64, 3)
        assert data.num_classes == 3
        assert data.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert data.train_images[:, 5, 5, 0].tolist() == [10, 11, 0, 1, 20, 21]
        assert data.test_labels.tolist() == [0, 0, 1, 2]
        assert data.test_images[:, 5, 5, 0].tolist() == [101, 103, 102, 100]
        assert data.mean[0] == pytest.approx(122.4627)


def test_nothing_is_downloaded():
    with pytest.raises(DataUnavailableError, match="--data_path"):
        load_data("tiny-imagenet")


def test_missing_folders(tmp_path):
    with pytest.raises(DataUnavailableError, match="no Tiny-ImageNet"):
        load_data("tiny-imagenet", tmp_path)


def test_broken_files(root):
    if (annotations := root / "val" / "val_annotations.txt").exists():
        annotations.write_text("val_9.JPEG\tn01\t0\n")
        with pytest.raises(DataUnavailableError, match=r"val_9\.JPEG"):
            load_data("tiny-imagenet", root)
        annotations.write_text("val_0.JPEG\tn77\t0\n")
        with pytest.raises(DataUnavailableError, match="n77"):
            load_data("tiny-imagenet", root)
        annotations.write_text("../../train/n01/images/n01_1.JPEG\tn01\t0\n")
        with pytest.raises(DataUnavailableError, match=r"names '\.\./\.\./train/n01.*, which is no image in"):
            load_data("tiny-imagenet", root)
        annotations.write_bytes(b"val_0.JPEG\tn01\t\xff\n")
        with pytest.raises(DataUnavailableError, match="it is not a text file"):
            load_data("tiny-imagenet", root)
        annotations.unlink()
        with pytest.raises(DataUnavailableError, match="val_annotations"):
            load_data("tiny-imagenet", root)
        return
    save(root / "train" / "n01" / "images" / "n01_1.JPEG", 3, size=32)
    with pytest.raises(DataUnavailableError, match="64 x 64"):
        load_data("tiny-imagenet", root)
    (root / "train" / "n01" / "images" / "n01_1.JPEG").write_bytes(b"no image")
    with pytest.raises(DataUnavailableError, match=r"cannot read .*, it is damaged, larger or no image"):
        load_data("tiny-imagenet", root)


@pytest.mark.parametrize("contents", [png(20_000, 20_000), black_png(64, 65), jpeg(65_535, 65_535), b""])
def test_images_that_are_not_those_of_tiny_imagenet(root, contents):
    path = root / "train" / "n01" / "images" / "n01_1.JPEG"
    path.write_bytes(contents)
    text = message(lambda: load_data("tiny-imagenet", root), DataUnavailableError)
    assert text.startswith(f"cannot read {path}: expected a JPEG image of 64 x 64, it is damaged, larger or no image; ")
    os.truncate(path, 3 << 30)
    text = message(lambda: load_data("tiny-imagenet", root), DataUnavailableError)
    assert text.endswith("64 x 64, it has more than 67,108,864 bytes; download the data again")


def test_annotations_name_each_image_once(root):
    annotations = root / "val" / "val_annotations.txt"
    if annotations.exists():
        annotations.write_text("val_0.JPEG\tn01\n" * 100_000)
        assert "names 'val_0.JPEG', which is no image in" in message(lambda: load_data("tiny-imagenet", root))
        annotations.write_text("x" * 100_000 + "\tn01\n")
        assert "which is no image in" in message(lambda: load_data("tiny-imagenet", root))


def test_a_folder_that_cannot_be_read(root):
    place = root / "train" / "loop"
    place.symlink_to("loop")
    assert "Too many levels of symbolic links; expected" in message(lambda: load_data("tiny-imagenet", root))
