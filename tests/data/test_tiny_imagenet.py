import keras
import numpy as np
import pytest

from tfprune.data import load_data
from tfprune.errors import DataUnavailableError

CLASSES = ("n02", "n01", "n03")


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
        annotations.unlink()
        with pytest.raises(DataUnavailableError, match="val_annotations"):
            load_data("tiny-imagenet", root)
        return
    save(root / "train" / "n01" / "images" / "n01_1.JPEG", 3, size=32)
    with pytest.raises(DataUnavailableError, match="64 x 64"):
        load_data("tiny-imagenet", root)
    (root / "train" / "n01" / "images" / "n01_1.JPEG").write_bytes(b"no image")
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        load_data("tiny-imagenet", root)
