import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.messages import message
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import BatchRequest, load_data, open_data
from tfprune.recipes.data.tfds_records import tfds_images


def tfds_images_write(root, *, label="ClassLabel", splits=("train", "validation"), records=6):
    """A data set as TensorFlow Datasets writes it: images of one color, which says their number."""
    import tensorflow_datasets as tfds

    class Colors(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "colors"
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = root

        def _info(self):
            kind = tfds.features.ClassLabel(num_classes=3) if label == "ClassLabel" else np.int64
            features = tfds.features.FeaturesDict({"picture": tfds.features.Image(encoding_format="png"), "kind": kind})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("picture", "kind"))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in splits}

        def _generate_examples(self):
            for number in range(records):
                yield number, {"picture": np.full((9, 8, 3), 10 * number, np.uint8), "kind": number % 3}

    builder = Colors(data_dir=root)
    builder.download_and_prepare()
    return root


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    return tfds_images_write(tmp_path_factory.mktemp("tfds"))


def test_images_and_labels_of_records(colors):
    train, test, classes = tfds_images("colors", colors)
    assert (len(train), len(test), classes) == (6, 6, 3)
    numbers = []
    for position in range(6):
        contents, label = train.read(tf.constant(position, tf.int64))
        numbers.append(int(tf.io.decode_png(contents)[0, 0, 0]) // 10)
        assert int(label) == numbers[-1] % 3
    assert sorted(numbers) == list(range(6))
    assert train.labels(np.array([5, 2])).tolist() == [numbers[5] % 3, numbers[2] % 3]
    assert train.describe(4).startswith("record 4 of ")


def test_batches(colors):
    data = open_data(colors, "colors", image_size=4, resize_size=4)
    assert (data.name, data.num_classes, data.input_shape) == ("colors", 3, (4, 4, 3))
    for batches in (data.training_batches(BatchRequest(batch_size=3, epochs=2, seed=0)), data.test_batches(3)):
        for batch in batches:
            shown = batch["images"].numpy()[:, 0, 0] * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
            np.testing.assert_array_equal(np.round(shown[:, 0] * 25.5).astype(int) % 3, batch["labels"])
    assert data.notes() == ()
    assert np.bincount(data.prune_images(3, balanced=True)[1]).tolist() == [1, 1, 1]


def test_data_that_cannot_be_used(tmp_path, colors):
    with pytest.raises(DataUnavailableError, match=r"no prepared absent in .*; expected absent/VERSION/"):
        tfds_images("absent", colors)
    with pytest.raises(DataUnavailableError, match=r"no images in .*; expected folders train/.*, or imagenet2012/"):
        open_data(tmp_path)
    with pytest.raises(ConfigError, match=r"expected one image and one class per example in colors, found \['kind'"):
        tfds_images("colors", tfds_images_write(tmp_path / "numbers", label="number"))
    with pytest.raises(ConfigError, match="expected splits train and validation or test"):
        tfds_images("colors", tfds_images_write(tmp_path / "splits", splits=("train",)))
    folder = tfds_images_write(tmp_path / "cut") / "colors" / "1.0.0"
    file = next(folder.glob("*train*tfrecord*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    with pytest.raises(DataUnavailableError, match=r"cannot be read \(.* ends within record 5\)"):
        tfds_images("colors", tmp_path / "cut")
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"] = ["7"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    file.write_bytes(whole)
    with pytest.raises(DataUnavailableError, match=r"6 of 7 records of train"):
        tfds_images("colors", tmp_path / "cut")


def test_cifar10_is_what_load_data_gives(tfds_folder, golden):
    data = open_data(tfds_folder, "cifar10", image_size=32, resize_size=32)
    assert (data.train_examples, data.test_examples) == (50_000, 10_000)  # it has no split called validation
    batch = next(iter(data.test_batches(64)))
    shown = batch["images"].numpy() * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    np.testing.assert_allclose(shown * 255, golden["test64_images"], atol=1e-3)


@pytest.mark.slow
def test_labels_of_cifar10(tfds_folder):
    whole = load_data("cifar10", tfds_folder)
    train, _, _ = tfds_images("cifar10", tfds_folder)
    some = np.random.default_rng(0).integers(0, 50_000, 300)
    np.testing.assert_array_equal(train.labels(some), whole.train_labels[some])


def copied(colors, tmp_path):
    """Returns the folder of a copy of the prepared data."""
    return shutil.copytree(colors, tmp_path / "copy") / "colors" / "1.0.0"


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kind", ["pipe", "device", "sparse", "nothing"])
def test_record_files_that_are_none(colors, tmp_path, split, kind):
    folder = copied(colors, tmp_path)
    file = next(folder.glob(f"*{split}*tfrecord*"))
    whole = file.read_bytes()
    file.unlink()
    match kind:
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
        case "sparse":
            file.write_bytes(whole)
            os.truncate(file, 3 << 30)
    words = {"sparse": "has more than 6 records", "nothing": "No such file"}.get(kind, "it is no regular file")
    assert words in message(lambda: tfds_images("colors", folder.parents[1]), DataUnavailableError)


def zeros(file):
    file.unlink()
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "kind.labels.txt"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (zeros, "it is no regular file"),
        (lambda file: os.truncate(file, 3 << 30), "it has more than"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "it is not a text file"),
    ],
    ids=["device", "sparse", "no text"],
)
def test_notes_of_tensorflow_datasets_that_are_none(colors, tmp_path, name, change, words):
    folder = copied(colors, tmp_path)
    (folder / name).touch()
    change(folder / name)
    text = message(lambda: tfds_images("colors", folder.parents[1]), DataUnavailableError)
    assert text.startswith(f"cannot read {folder / name}: expected a file of TensorFlow Datasets, {words}")
    assert text.endswith("remove that folder and prepare the data again")


def test_records_that_are_no_examples(colors, tmp_path):
    folder = copied(colors, tmp_path)
    file = next(folder.glob("*train*tfrecord*"))
    data = bytearray(file.read_bytes())
    first = int.from_bytes(data[:8], "little")
    data[12 : 12 + first] = b"\xff" * first
    file.write_bytes(data)
    train, _, _ = tfds_images("colors", folder.parents[1])
    words = f"a label 'kind' from 0 to 2, received others among 2, of which the first is record 0 of {file}"
    assert words in message(lambda: train.labels(np.array([0, 1])), DataUnavailableError)
    data = open_data(folder.parents[1], "colors", image_size=4, resize_size=4)
    assert sum(len(batch["labels"]) for batch in data.plain_batches(3)) == 5
    assert data.notes()[0].startswith("1 training image of 6 could not be read and was skipped")


def test_labels_of_no_class(colors, tmp_path):
    folder = copied(colors, tmp_path)
    features = json.loads((folder / "features.json").read_text())
    kind = features["featuresDict"]["features"]["kind"]["classLabel"]
    kind["numClasses"] = "2"
    (folder / "kind.labels.txt").unlink(missing_ok=True)
    (folder / "features.json").write_text(json.dumps(features))
    train, _, classes = tfds_images("colors", folder.parents[1])
    assert classes == 2
    assert "a label 'kind' from 0 to 1, received others among 6" in message(lambda: train.labels(np.arange(6)))
    data = open_data(folder.parents[1], "colors", image_size=4, resize_size=4)
    assert sum(len(batch["labels"]) for batch in data.plain_batches(3)) == 4
    assert data.notes()[0].startswith("2 training images of 6 could not be read and were skipped")
    kind["numClasses"] = "0"
    (folder / "features.json").write_text(json.dumps(features))
    assert "expected classes of colors, found" in message(lambda: tfds_images("colors", folder.parents[1]))
