"""A small tree of real JPEG files, as ImageNet's."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.recipes.data import load_data
from tfprune.recipes.data.dataset import prune_positions
from tfprune.recipes.data.tfds_records import tfds_images


def digits_tree(root: Path, *, classes: int = 10, train: int = 8, test: int = 3, side: int = 48) -> Path:
    """Digits, scaled up, `train` and `test` of each class."""
    digits = load_data("digits")
    images = np.concatenate([digits.train_images, digits.test_images])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    for label in range(classes):
        chosen = images[labels == label][: train + test]
        scaled = tf.image.resize(chosen, [side, side + 8 * (label % 3)])
        coloured = scaled * tf.constant([1.0, 0.8, 0.6]) + 20
        _write(root, f"n{label:02d}", tf.saturate_cast(coloured, tf.uint8), train)
    return root


def cifar_tree(root: Path, data_path: Path, *, train: int, test: int, side: int = 64) -> Path:
    """CIFAR-10, scaled up."""
    images, _, classes = tfds_images("cifar10", data_path)
    count = train + test
    some = prune_positions(len(images), classes, images.labels, count * classes, balanced=True, seed=0)
    labels = images.labels(some)
    for label in range(classes):
        files = [images.read(tf.constant(position))[0] for position in some[labels == label]]
        pixels = tf.stack([tf.io.decode_image(file, 3) for file in files])
        scaled = tf.image.resize(pixels, [side, side], "bicubic")
        _write(root, f"n{label:02d}", tf.saturate_cast(scaled, tf.uint8), train)
    return root


def tiny_imagenet_tree(root: Path, *, classes: int, train: int, test: int) -> Path:
    """Digits of 64 x 64 in the folders of Tiny-ImageNet, as it is distributed, with its files of boxes."""
    digits = digits_tree(root.with_name("digits"), classes=classes, train=train, test=test, side=64)
    annotations = []
    for file in sorted(digits.rglob("*.JPEG")):
        name, position = file.parent.name, "0\t0\t63\t63\n"
        square = tf.io.encode_jpeg(tf.io.decode_jpeg(file.read_bytes())[:, :64], quality=95).numpy()
        if file.parts[-3] == "train":
            folder = root / "train" / name
            _put(folder / "images" / file.name, square)
            with (folder / f"{name}_boxes.txt").open("a", encoding="utf-8") as boxes:
                boxes.write(f"{file.name}\t{position}")
        else:
            annotations.append(f"val_{len(annotations)}.JPEG\t{name}\t{position}")
            _put(root / "val" / "images" / f"val_{len(annotations) - 1}.JPEG", square)
    (root / "val" / "val_annotations.txt").write_text("".join(annotations), encoding="utf-8")
    (root / "wnids.txt").write_text("".join(f"n{label:02d}\n" for label in range(classes)), encoding="utf-8")
    return root


def _write(root: Path, name: str, images: tf.Tensor, train: int) -> None:
    for number, image in enumerate(images):
        folder = root / ("train" if number < train else "val") / name
        _put(folder / f"{name}_{number:03d}.JPEG", tf.io.encode_jpeg(image, quality=95).numpy())


def _put(path: Path, contents: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
