import json

import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.recipes.data import BatchRequest, load_data, open_data
from tfprune.recipes.data.tfds_records import RecordFiles, tfds_images


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


def record_files_write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def test_any_record_of_several_files(tmp_path):
    parts = [[b"first", b"", b"third" * 100], [], [b"x" * 70_000, b"last"]]
    paths = [record_files_write(tmp_path / f"part{number}", records) for number, records in enumerate(parts)]
    files = RecordFiles(paths)
    everything = [record for records in parts for record in records]
    assert len(files) == 5
    assert [files.read(position) for position in (4, 0, 2, 1, 3)] == [everything[i] for i in (4, 0, 2, 1, 3)]
    assert [files.describe(position) for position in (2, 4)] == [f"record 2 of {paths[0]}", f"record 1 of {paths[2]}"]
    assert len(RecordFiles([])) == 0


@pytest.mark.parametrize("cut", [1, 4, 10, 20])
def test_file_that_ends_too_early(tmp_path, cut):
    path = tmp_path / "records"
    record_files_write(path, [b"a whole record", b"12345678"])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="ends within record 1"):
        RecordFiles([str(path)])
