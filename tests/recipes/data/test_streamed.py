import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.jpeg_tree import digits_tree
from tests.recipes.data.image_bytes import png
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import BatchRequest
from tfprune.recipes.data.folders import folder_images
from tfprune.recipes.data.streamed import StreamedData


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return digits_tree(tmp_path_factory.mktemp("data"), classes=3, train=8, test=3)


def opened(tree, **options):
    train, val, classes = folder_images(tree)
    return StreamedData("tree", len(classes), train, val, **{"image_size": 24, "resize_size": 28, **options})


def same(ours, theirs):
    return all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("options", [{}, {"views": 2, "color_jitter": True}])
def test_batches_are_a_function_of_seed_and_step(tree, options):
    options = {"batch_size": 5, "epochs": 2, "seed": 7, **options}
    data = opened(tree)
    whole = list(data.training_batches(BatchRequest(**options)))
    assert len(whole) == 2 * 4 == len(data.training_batches(BatchRequest(**options)))
    assert whole[0]["images"].shape == (5, *([2] if "views" in options else []), 24, 24, 3)
    assert whole[0]["images"].dtype == tf.float32
    assert whole[0]["labels"].dtype == tf.int64
    for start in (0, 3, 8):  # in the middle of an epoch, too
        rest = list(data.training_batches(BatchRequest(**options, start_step=start)))
        assert len(rest) == 8 - start
        assert all(map(same, rest, whole[start:]))
    other = next(iter(data.training_batches(BatchRequest(**{**options, "seed": 8}))))
    assert not same(other, whole[0])
    assert not np.array_equal(whole[0]["images"], whole[4]["images"])
    if "views" in options:
        assert not np.array_equal(whole[0]["images"][:, 0], whole[0]["images"][:, 1])


def test_an_epoch_shows_every_image_once(tree):
    data = opened(tree, scale=(1.0, 1.0))  # hardly a choice of place
    seen = np.concatenate(
        [batch["labels"] for batch in data.training_batches(BatchRequest(batch_size=6, epochs=1, seed=0))]
    )
    assert np.bincount(seen).tolist() == [8, 8, 8]


def test_labels_belong_to_images(tree):
    """A whole image of the first class, with its own label, is found among the batches."""
    data = opened(tree, image_size=48, resize_size=48, flip=False, scale=(1.0, 1.0))
    square = next((tree / "train/n00").iterdir()), 0  # 48 x 48, so a window of all of it fits when its ratio is 1
    pixels = tf.image.decode_jpeg(square[0].read_bytes(), 3)
    expected = (np.asarray(pixels, np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    best = np.inf, None
    for batch in data.training_batches(BatchRequest(batch_size=24, epochs=6, seed=0)):
        distances = np.abs(batch["images"] - expected).mean(axis=(1, 2, 3))
        best = min(best, (distances.min(), int(batch["labels"][int(distances.argmin())])))
    assert best[0] < 0.12
    assert best[1] == square[1]


def test_half_of_the_images_are_mirrored(tree):
    def first(flip):
        return next(iter(opened(tree, flip=flip).training_batches(BatchRequest(batch_size=24, epochs=1, seed=0))))[
            "images"
        ]

    plain, mirrored = first(False), first(True)
    turned = [np.array_equal(one[:, ::-1], other) for one, other in zip(plain, mirrored, strict=True)]
    kept = [np.array_equal(one, other) for one, other in zip(plain, mirrored, strict=True)]
    assert sum(turned) + sum(kept) == 24
    assert 6 <= sum(turned) <= 18


def test_test_images_in_file_order(tree):
    data = opened(tree)
    batches = list(data.test_batches(4))
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 1]
    labels = np.concatenate([batch["labels"] for batch in batches])
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert same(batches[0], next(iter(opened(tree).test_batches(4))))
    assert (data.train_examples, data.test_examples, data.input_shape, data.steps_per_epoch(5)) == (
        24,
        9,
        (24, 24, 3),
        4,
    )


@pytest.fixture
def broken(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "broken")
    whole = (copy / "train/n01/n01_000.JPEG").read_bytes()
    (copy / "train/n01/n01_000.JPEG").write_bytes(whole[: len(whole) // 2])
    (copy / "train/n02/n02_001.JPEG").write_bytes(b"")
    (copy / "val/n00/n00_008.JPEG").write_bytes(b"no image")
    (copy / "val/n00/n00_009.JPEG").write_bytes(b"no image")
    return copy


def test_broken_images_are_skipped_and_counted(tree, broken):
    data, whole = opened(broken), opened(tree)
    options = {"batch_size": 8, "epochs": 2, "seed": 1}
    ours, sound = (list(each.training_batches(BatchRequest(**options))) for each in (data, whole))
    assert len(ours) == 6
    changed = 0
    for one, other in zip(ours, sound, strict=True):
        differs = [not np.array_equal(*pair) for pair in zip(one["images"], other["images"], strict=True)]
        changed += sum(differs)
        for place in np.flatnonzero(differs):  # another image of the batch, with its label
            others = [i for i in range(8) if not differs[i] and np.array_equal(one["images"][i], one["images"][place])]
            assert [int(one["labels"][i]) for i in others] == [int(one["labels"][place])]
    assert changed == 2 * 2
    assert [len(batch["labels"]) for batch in data.test_batches(2)] == [2, 2, 2, 1]  # nothing is left of the first two
    notes = data.notes()
    assert len(notes) == 2
    assert notes[0].startswith("2 training images of 24 could not be read and were skipped")
    assert "n01_000.JPEG" in notes[0]
    assert notes[1].startswith("2 test images of 9 could not be read")
    assert whole.notes() == ()
    again = list(opened(broken).training_batches(BatchRequest(**options, start_step=4)))
    assert all(map(same, again, ours[4:]))


def test_training_images_without_augmentation(tree, broken):
    data, sound = opened(broken), opened(tree)
    batches = list(data.plain_batches(8))
    places = np.concatenate([batch["positions"] for batch in batches])
    assert places.tolist() == [place for place in range(24) if place not in (8, 17)]  # those two cannot be read
    whole = np.concatenate([batch["images"] for batch in sound.plain_batches(24)])
    np.testing.assert_array_equal(np.concatenate([batch["images"] for batch in batches]), whole[places])
    np.testing.assert_array_equal(np.concatenate([batch["labels"] for batch in batches]), places // 8)
    chosen = np.array([20, 8, 1, 3, 0])
    some = list(data.plain_batches(2, chosen, start_step=1, drop_remainder=True))
    assert [batch["positions"].numpy().tolist() for batch in some] == [[1, 3]]
    np.testing.assert_array_equal(some[0]["images"], whole[[1, 3]])
    assert "1 training image" not in " ".join(data.notes())
    assert data.notes()[0].startswith("2 training images of 24")


@pytest.mark.parametrize("options", [{}, {"views": 2, "color_jitter": True}])
def test_rows_of_a_batch_are_those_of_the_whole_batch(tree, options):
    options = {"batch_size": 8, "epochs": 1, "seed": 3, **options}
    data, rows = opened(tree), [6, 1, 3]
    whole, some = (next(iter(data.training_batches(BatchRequest(**options, rows=each)))) for each in (None, rows))
    assert same(some, {name: values.numpy()[rows] for name, values in whole.items()})
    with pytest.raises(ConfigError, match=r"rows of a batch, 0 to 7, at least one, received \[\]"):
        data.training_batches(BatchRequest(**options, rows=[]))


def test_images_to_prune_by(tree):
    images, labels = opened(tree).prune_images(6, balanced=True, seed=2)
    assert images.shape == (6, 24, 24, 3)
    assert np.bincount(labels).tolist() == [2, 2, 2]
    again = opened(tree).prune_images(6, balanced=True, seed=2)
    np.testing.assert_array_equal(again[0], images)
    assert not np.array_equal(opened(tree).prune_images(6, balanced=True, seed=3)[0], images)


def test_memory_bank(tree, broken):
    rows = np.random.default_rng(0).normal(size=(24, 3, 2)).astype(np.float16)
    batches = list(opened(tree).training_batches(BatchRequest(batch_size=24, epochs=1, seed=0, knowledge=rows)))
    assert sorted(batches[0]["knowledge"].numpy().sum(axis=(1, 2))) == pytest.approx(
        sorted(rows.astype(np.float32).sum(axis=(1, 2)))
    )
    marked = np.zeros((24, 3, 1), np.float32)
    marked[:, :, 0] = np.arange(24)[:, None]
    for batch in opened(broken).training_batches(BatchRequest(batch_size=8, epochs=2, seed=1, knowledge=marked)):
        rows = batch["knowledge"].numpy()[:, 0, 0].astype(int)
        assert not {8, 17} & set(rows)  # in place of images that cannot be read others are shown, with their own rows
        np.testing.assert_array_equal(batch["labels"], rows // 8)
    with pytest.raises(ConfigError, match=r"expected knowledge of shape \[24, 3, teachers\] for tree"):
        opened(tree).training_batches(BatchRequest(batch_size=24, epochs=1, seed=0, knowledge=rows[:5]))


def test_wrong_arguments(tree, tmp_path):
    with pytest.raises(ConfigError, match="expected an image size from 1 to the 20 pixels"):
        opened(tree, resize_size=20)
    with pytest.raises(ConfigError, match="from 1 to the 24 training images, received 25"):
        opened(tree).training_batches(BatchRequest(batch_size=25, epochs=1, seed=0))
    copy = shutil.copytree(tree, tmp_path / "copy")
    for file in copy.glob("train/*/*"):
        file.write_bytes(b"nothing")
    with pytest.raises(DataUnavailableError, match=r"none of several training images of tree .*such as .*n00"):
        opened(copy)


def test_files_that_are_too_large_are_skipped_and_counted(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "large")
    files = sorted((copy / "train" / "n01").iterdir())
    os.truncate(files[0], 3 << 30)
    files[1].write_bytes(png(20_000, 20_000))
    os.truncate(sorted((copy / "val" / "n02").iterdir())[0], 3 << 30)
    data = opened(copy)
    files[2].unlink()  # after it was found
    batches = list(data.training_batches(BatchRequest(batch_size=8, epochs=1, seed=0)))
    assert all(np.isfinite(batch["images"]).all() for batch in batches)
    assert sum(len(batch["labels"]) for batch in data.test_batches(4)) == 8
    assert data.notes()[0].startswith("3 training images of 24 could not be read and were skipped")
    assert data.notes()[1].startswith("1 test image of 9 could not be read and was skipped")
    for file in (copy / "train").glob("*/*"):
        os.truncate(file, 3 << 30)
    with pytest.raises(DataUnavailableError, match="none of several training images"):
        opened(copy)
