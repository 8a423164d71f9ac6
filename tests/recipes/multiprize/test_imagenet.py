"""Sub-networks trained on images that are read from the disk, by a settings file of ours."""

import json
from pathlib import Path

import pytest

from tests.jpeg_tree import digits_tree
from tfprune.cli.programs import train_imagenet

CONFIG = str(Path(__file__).parents[3] / "configs" / "multiprize" / "imagenet_resnet50_binact_kn.yaml")
SMALL = "--arch Conv2 --width_multiplier 0.1 --image_size 8 --resize_size 10 --batch_size 8 --no_export --epochs 1"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return str(digits_tree(tmp_path_factory.mktemp("images"), classes=3, train=8, test=3, side=24))


@pytest.mark.slow
def test_a_run(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", CONFIG, *SMALL.split(), "--warmup_epochs", "0", "--density", "0.3", "--name", "a"]
    assert train_imagenet([*words, tree]) == 0
    folder = tmp_path / "runs" / "imagenet_resnet50_binact_kn" / "density=0.3" / "a"
    numbers = json.loads((folder / "results.json").read_text())
    # 3 x 3 kernels from 3 to 6 and from 6 to 6 channels; then 16 pixels of 6 channels to 25, to 25, to 3 classes
    sizes = [3 * 9 * 6, 6 * 9 * 6, 96 * 25, 25 * 25, 25 * 3]
    assert numbers["kept"] == sum(size - int((1 - 0.3) * size) for size in sizes)
    assert 0 <= numbers["accuracy"] <= numbers["top5"] == 1
    assert "on 9 test images" in capsys.readouterr().out


def test_mistakes_end_with_one_line(tree, capsys):
    assert train_imagenet(["--config", CONFIG, "--jsd", "--density", "0.3", tree]) == 2
    error = capsys.readouterr().err
    assert error == (
        "train_imagenet.py: error: --jsd needs changed views of the images: add --augmix or --gaussian_noise\n"
    )
