import csv

import numpy as np
import pytest

from tfprune.cli.main import main
from tfprune.dpp import gram
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
