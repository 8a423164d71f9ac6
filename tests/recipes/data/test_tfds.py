import json
import os
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from tfprune.errors import DataUnavailableError
from tfprune.recipes.data import load_data
from tfprune.recipes.data import tfds as prepared_dataset
from tfprune.recipes.data.tfds import answers, opened_dataset, prepared_images

NAMES = {"CIFAR10": "cifar10", "CIFAR100": "cifar100"}


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(prepared_dataset, "answers", lambda url, seconds: False)


class FailingBuilder:
    """Begins a download as TensorFlow Datasets does, and fails."""

    def __init__(self, root, name, error):
        self.root, self.name, self.error = root, name, error

    def download_and_prepare(self):
        (self.root / self.name / "incomplete.AB12_3.0.2").mkdir(parents=True)
        (self.root / "downloads").mkdir()
        (self.root / "downloads" / "half").write_text("half")
        raise self.error


@pytest.fixture
def failing(monkeypatch):
    """A network that answers, and a download that fails with the given error."""
    import tensorflow_datasets as tfds

    def fail_with(error):
        monkeypatch.setattr(prepared_dataset, "answers", lambda url, seconds: True)
        monkeypatch.setattr(tfds, "builder", lambda name, data_dir: FailingBuilder(data_dir, name, error))

    return fail_with


@pytest.mark.parametrize("name", NAMES)
def test_no_data_and_no_network(name, offline, tmp_path):
    absent = tmp_path / "deep" / "absent"
    with pytest.raises(DataUnavailableError) as raised:
        load_data(name, absent)
    message = str(raised.value)
    assert "\n" not in message
    for part in (NAMES[name], str(absent), "--data_path DIR", "a machine with a network", "--dataset digits"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_default_folder_is_that_of_tensorflow_datasets(offline, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(DataUnavailableError, match=f"{tmp_path}/mine"):
        load_data("CIFAR10")
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataUnavailableError, match=f"{tmp_path}/tensorflow_datasets"):
        load_data("CIFAR10")


@pytest.mark.parametrize("error", [ConnectionError("broken\npipe"), KeyboardInterrupt()])
def test_failed_download_leaves_nothing(failing, tmp_path, error):
    failing(error)
    root = tmp_path / "new" / "root"
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else DataUnavailableError
    with pytest.raises(expected) as raised:
        load_data("CIFAR10", root)
    assert list(tmp_path.iterdir()) == []
    if expected is DataUnavailableError:
        assert "the download failed: broken;" in str(raised.value)


def test_failed_download_leaves_what_was_there(failing, tmp_path):
    failing(OSError("no space"))
    (tmp_path / "cifar100").mkdir()
    with pytest.raises(DataUnavailableError):
        load_data("CIFAR10", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar100"]


def test_newest_version_is_taken(tmp_path):
    for version in ("3.0.2", "3.0.10", "2.9.9", "incomplete.X_9.9.9"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "dataset_info.json").touch()
    (tmp_path / "4.0.0").mkdir()  # nothing prepared in it
    assert prepared_dataset._prepared_folder(tmp_path) == tmp_path / "3.0.10"
    assert prepared_dataset._prepared_folder(tmp_path / "absent") is None


def test_download_once_then_read_quietly_without_a_network(tmp_path, monkeypatch, capfd, caplog):
    import tensorflow_datasets as tfds

    class TinyMade(tfds.core.GeneratorBasedBuilder):
        """Images of one gray each, its label; what a real download does after the network."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image, label = tfds.features.Image(shape=(32, 32, 3)), tfds.features.ClassLabel(num_classes=10)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples(7)}

        def _generate_examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((32, 32, 3), i, np.uint8), "label": i}

    monkeypatch.setattr(prepared_dataset, "answers", lambda url, seconds: True)
    made = prepared_dataset.prepared_dataset("tiny_made", tmp_path, "")
    assert (tmp_path / "tiny_made" / "1.0.0" / "dataset_info.json").exists()
    monkeypatch.setattr(prepared_dataset, "answers", lambda url, seconds: pytest.fail("asked the network"))
    found = prepared_dataset.prepared_dataset("tiny_made", tmp_path, "")
    capfd.readouterr()
    caplog.clear()
    images, labels = prepared_images(found, "train", (32, 32, 3))
    assert capfd.readouterr().out == ""
    assert caplog.messages == []
    assert sorted(labels) == list(range(7))
    np.testing.assert_array_equal(images[:, 5, 6, 1], labels)
    np.testing.assert_array_equal(prepared_images(made, "train", (32, 32, 3))[1], labels)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_server_that_only_knows_errors_answers():
    class Lost(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Lost) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        assert answers(f"http://127.0.0.1:{server.server_port}/", 10.0)
        thread.join()


def test_silence_is_no_answer_and_costs_no_more_than_the_limit():
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        assert not answers(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.2)
        assert time.monotonic() - begin < 5


def test_closed_port_and_slow_name_look_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not answers(f"http://127.0.0.1:{port}/", 5.0)

    release = threading.Event()

    def slow(*arguments, **options):
        release.wait(20)
        raise OSError("name not known")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begin = time.monotonic()
    assert not answers("http://somewhere.invalid/", 0.2)
    assert time.monotonic() - begin < 5
    release.set()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Prepared images of 5 x 4, one gray each, its label."""
    import tensorflow_datasets as tfds

    class Grays(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "grays"
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path_factory.mktemp("code")

        def _info(self):
            image, label = tfds.features.Image(shape=(None, None, 3)), tfds.features.ClassLabel(num_classes=9)
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
            )

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(5, 4),
                "large": self._generate_examples(3000, 2000),
                "turned": self._generate_examples(4, 5),
            }

        def _generate_examples(self, height, width):
            for number in range(7):
                yield number, {"image": np.full((height, width, 3), number, np.uint8), "label": number}

    root = tmp_path_factory.mktemp("grays")
    Grays(data_dir=root).download_and_prepare()
    return root


def test_images_of_one_shape(made):
    builder = opened_dataset("grays", made)
    images, labels = prepared_images(builder, "train", (5, 4, 3))
    assert (images.shape, images.dtype, labels.dtype) == ((7, 5, 4, 3), np.uint8, np.int64)
    np.testing.assert_array_equal(images, np.broadcast_to(labels[:, None, None, None], images.shape))
    assert sorted(labels) == list(range(7))
    for split in ("large", "turned"):
        with pytest.raises(DataUnavailableError, match=r"the prepared data of grays in .* cannot be read"):
            prepared_images(builder, split, (5, 4, 3))


@pytest.mark.parametrize("count", [10**12, 8, 6, 0])
def test_numbers_of_images_that_are_not_true(made, tmp_path, count):
    folder = shutil.copytree(made, tmp_path / "copy") / "grays" / "1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["shardLengths"] = [str(count)]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataUnavailableError, match=f"7 of {count} records of train|has more than {count} records"):
        prepared_images(opened_dataset("grays", tmp_path / "copy"), "train", (5, 4, 3))


def test_more_files_than_there_are(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy") / "grays" / "1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    for split in info["splits"]:
        split["shardLengths"] = ["1"] * 1000  # a million of them would take gigabytes as paths
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataUnavailableError, match="1000 files of train among"):
        prepared_images(opened_dataset("grays", tmp_path / "copy"), "train", (5, 4, 3))


def test_a_pipe_is_no_prepared_data(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "copy") / "grays" / "1.0.0"
    file = next(folder.glob("*train*"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataUnavailableError, match="expected a file of TensorFlow Datasets, it is no regular file"):
        opened_dataset("grays", tmp_path / "copy")


def test_folders_that_are_no_versions(made, tmp_path):
    copy = shutil.copytree(made, tmp_path / "copy")
    for name in ("1..0", "2.", ".3"):
        shutil.copytree(copy / "grays" / "1.0.0", copy / "grays" / name)
    assert str(opened_dataset("grays", copy).data_dir).endswith("1.0.0")
