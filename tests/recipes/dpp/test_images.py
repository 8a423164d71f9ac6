import csv

import numpy as np
import pytest

from tfprune.cli.main import main
from tfprune.dpp import gram
from tfprune.recipes.data import load_data
from tfprune.recipes.dpp.images import ImageMasks, SigmoidMLP

CHOICES = ["dpp_node", "random_node", "importance_node", "dpp_edge", "random_edge", "importance_edge"]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The rows of a small run on the digits, averaged to 4x4 pixels; the words of its command and its folder."""
    out = tmp_path_factory.mktemp("images") / "run"
    words = ["dpp", "image", "--out", str(out), "--widths", "30", "8", "--epochs", "12", "--pool", "2"]
    words += ["--repeats", "1", "--density", "0.6", "--num_masks", "2", "--batch_size", "32"]
    assert main(words) == 0
    with open(out / "results.csv", newline="") as file:
        rows = [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return rows, words, out


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text


def test_a_whole_run(result, capsys):
    rows, words, out = result
    assert [row["choice"] for row in rows[::2]] == CHOICES
    assert min(row["unpruned"] for row in rows) > 0.7
    at_half = {(row["choice"], row["reweight"]): row["accuracy"] for row in rows}
    assert all(at_half[choice, 1] > 0.5 for choice in CHOICES)
    assert at_half["random_edge", 1] > at_half["random_edge", 0]
    lines = (out / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        f"{choice}{word}" for choice in CHOICES for word in ("", " reweighted")
    ]
    assert (out / "figure.png").stat().st_size > 1000
    assert main(words) == 2
    assert "holds results.csv; add --overwrite" in capsys.readouterr().err


def test_nodes_and_edges_have_as_many_weights(result):
    """30 nodes read 16 inputs and are read by 8: a node is 24 weights, an edge of each node 30."""
    for row in result[0]:
        edges = int(row["density"] * 16)
        equal = 30 * (edges + 8)
        assert row["k"] == edges if row["choice"].endswith("edge") else row["k"] == np.ceil(equal / 24)
        assert equal <= row["parameters"] < equal + 24


def test_masks_of_several_sizes(golden):
    inputs, kernel = golden["rbf/X"].astype(float), golden["rbf/W"].astype(float)
    model = SigmoidMLP((kernel, golden["rbf/w2"].astype(float)), (np.zeros(kernel.shape[1]), np.zeros(3)))
    masks = ImageMasks(model, gram(inputs), beta=10.0, seed=1)
    for choice in CHOICES[1:]:
        for k, found in zip((2, 4), masks.draw(choice, (2, 4), 3), strict=True):
            assert found.shape == (1 if choice.startswith("importance") else 3, *kernel.T.shape)
            counts = found.any(axis=2).sum(axis=1) if choice.endswith("node") else found.sum(axis=2)
            assert (counts == k).all()
    best = masks.draw("importance_node", (2,), 3)[0][0].any(axis=1)
    outgoing = np.abs(golden["rbf/w2"]).sum(axis=1)
    assert outgoing[best].min() >= outgoing[~best].max()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pool", "3"], "--pool: expected a side that divides images of 8x8, received 3"),
        (["--density", "1.5"], "--density: expected values between 0 and 1, received 1.5"),
        (["--beta", "0"], "--beta: expected a value above 0"),
        (["--repeats", "0"], "--repeats: expected a value of at least 1"),
        (["--lr", "0"], "--lr: expected a value above 0"),
    ],
)
def test_unfit_settings(tmp_path, words, message, capsys):
    assert main(["dpp", "image", "--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def _drawn_digits(count, seed):
    """Images of MNIST's size: class c has a bright block at a place of its own, moved a little, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 60, (count, 28, 28, 1))
    for image, label, shift in zip(images, labels, rng.integers(0, 4, count), strict=True):
        row, column = 4 + 4 * (label % 5), 2 + 13 * (label // 5) + shift
        image[row : row + 4, column : column + 8] += 190
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder with a small MNIST, prepared by TensorFlow Datasets as the real one is."""
    import tensorflow_datasets as tfds

    class Mnist(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "mnist"
        VERSION = tfds.core.Version("3.0.1")
        pkg_dir_path = tmp_path_factory.mktemp("code")

        def _info(self):
            image, label = tfds.features.Image(shape=(28, 28, 1)), tfds.features.ClassLabel(num_classes=10)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(400, 0), "test": self._generate_examples(100, 1)}

        def _generate_examples(self, count, seed):
            for number, (image, label) in enumerate(zip(*_drawn_digits(count, seed), strict=True)):
                yield number, {"image": image, "label": label}

    folder = tmp_path_factory.mktemp("tfds")
    Mnist(data_dir=folder).download_and_prepare()
    return folder


def test_mnist_as_tensorflow_datasets_prepares_it(mnist):
    data = load_data("MNIST", mnist)
    for images, labels, drawn in (
        (data.train_images, data.train_labels, _drawn_digits(400, 0)),
        (data.test_images, data.test_labels, _drawn_digits(100, 1)),
    ):
        found, expected = (np.argsort(each.reshape(len(each), -1) @ np.arange(784.0)) for each in (images, drawn[0]))
        np.testing.assert_array_equal(images[found], drawn[0][expected])
        np.testing.assert_array_equal(labels[found], drawn[1][expected])
    assert (data.name, data.num_classes) == ("MNIST", 10)
    whole = data.train_images.astype(float)
    np.testing.assert_allclose(data.normalize(data.train_images), (whole / 255 - 0.1307) / 0.3081, rtol=1e-5, atol=1e-5)


def test_mnist_is_classified_and_pruned(mnist, tmp_path, capsys):
    words = ["dpp", "image", "--dataset", "MNIST", "--data_path", str(mnist), "--out", str(tmp_path / "new" / "run")]
    words += ["--widths", "12", "6", "--pool", "4", "--epochs", "40", "--batch_size", "20", "--density", "0.5"]
    assert main([*words, "--repeats", "1", "--num_masks", "2"]) == 0
    with open(tmp_path / "new" / "run" / "results.csv", newline="") as file:
        rows = [{name: _number(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["choice"] for row in rows[::2]] == CHOICES
    assert {row["k"] for row in rows if row["choice"].endswith("edge")} == {24}  # of 7 x 7 inputs
    assert {row["parameters"] for row in rows if row["choice"].endswith("edge")} == {12 * (24 + 6)}
    assert min(row["unpruned"] for row in rows) > 0.8
    assert max(row["accuracy"] for row in rows) > 0.6
    assert "on 100 test images" in capsys.readouterr().out


def test_mnist_that_is_not_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfprune.recipes.data.tfds.answers", lambda url, seconds: False)
    words = ["dpp", "image", "--dataset", "MNIST", "--data_path", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert f"no prepared mnist in {tmp_path}, and" in capsys.readouterr().err
