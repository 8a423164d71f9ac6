"""Every method's command for ImageNet on a small tree of JPEG files, with its own settings file."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.jpeg_tree import cifar_tree, digits_tree
from tests.outside import find_tfds
from tfprune.cli.programs import evaluate, train_imagenet
from tfprune.recipes.catalog import configs

ROOT = Path(__file__).parents[2]
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A run: its settings file, what makes it small, and the column of its accuracy."""

    config: str
    words: str
    accuracy: str = "accuracy"


CASES = {
    "ekg": Case(
        "ekg/imagenet_resnet50.yaml",
        "--baseline_epoch 1 --train_epoch 1 --search_target_rate 0.95 --num_teacher 2 --search_batch_size 10",
        "after_accuracy",
    ),
    "peekaboo": Case("peekaboo/imagenet_resnet50.yaml", "--prune_iters 2 --epochs 1"),
    "dense": Case("tickets/imagenet_resnet50_dense.yaml", "--epochs 1"),
    "ticket": Case("tickets/imagenet_resnet50_smart_ratio.yaml", "--epochs 1"),
    "multiprize": Case("multiprize/imagenet_resnet50_kn.yaml", "--density 0.2 --epochs 1 --warmup_epochs 0 --name x"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Four training images and two others of each of ten classes, 64 x 64: CIFAR-10 where it is there."""
    root = tmp_path_factory.mktemp("images")
    data = find_tfds()
    if data is not None:
        return cifar_tree(root, data, train=4, test=2, side=64)
    return digits_tree(root, classes=CLASSES, train=4, test=2, side=64)


def small(case, tree, folder):
    """The words of a run of ResNet-20 on that tree."""
    flags = (
        "--arch ResNet-20 --image_size 64 --resize_size 72 --batch_size 16 --val_batch_size 10 --do_log 1 --no_export"
    )
    paths = ["--data_path", str(tree), "--train_path", str(folder)]
    words = [*flags.split(), *case.words.split()]
    if case is CASES["ekg"]:
        words += ["--baseline_path", str(folder.parent / "baselines")]
    return ["--config", str(ROOT / "configs" / case.config), *words, *paths]


def test_there_is_a_case_for_every_method():
    assert CASES.keys() == configs(imagenet=True).keys()


@pytest.mark.slow
@pytest.mark.parametrize("method", CASES)
def test_from_the_images_to_a_tested_network(method, tree, tmp_path, capsys):
    case, folder = CASES[method], tmp_path / "run"
    assert train_imagenet(small(case, tree, folder)) == 0
    results = json.loads((folder / "results.json").read_text())
    tested = tmp_path / "tested.json"
    result = folder / "trained.keras"
    moved = shutil.copy(result, tmp_path / "moved.keras")
    for words in ([str(result)], ["--trained_param", str(moved), "--data_path", str(tree)]):
        assert evaluate([*words, "--no_latency", "--json", str(tested)]) == 0
        numbers = json.loads(tested.read_text())
        assert numbers["examples"] == 20
        assert numbers["top1"] == pytest.approx(results[case.accuracy])
    assert evaluate([str(moved)]) == 2
    assert "--dataset imagenet2012 needs --data_path" in capsys.readouterr().err
    model = keras.saving.load_model(result)
    assert model.input_shape == (None, 64, 64, 3)
    assert model.output_shape == (None, CLASSES)
    if method == "ekg":
        assert results["after_flops"] <= 0.95 * results["before_flops"]
    if method in ("peekaboo", "ticket"):
        assert results["density"] == pytest.approx({"peekaboo": 0.5, "ticket": 0.1}[method], abs=0.01)
        kernels = [np.asarray(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        kept = sum(np.count_nonzero(kernel) for kernel in kernels) / sum(kernel.size for kernel in kernels)
        assert kept == pytest.approx(results["density"], abs=0.05)


@pytest.mark.slow
def test_two_steps_at_full_size(tree, tmp_path, capsys):
    """224 x 224 by default; one image is broken."""
    words = "--method dense --arch ResNet-18 --epochs 1 --batch_size 4 --val_batch_size 4 --no_export --do_log 1"
    two = tmp_path / "two_classes"
    for name in ("train/n00", "train/n01", "val/n00", "val/n01"):
        shutil.copytree(tree / name, two / name)
    next((two / "train/n00").iterdir()).write_bytes(b"damaged")
    assert train_imagenet([*words.split(), "--train_path", str(tmp_path / "run"), str(two)]) == 0
    assert keras.saving.load_model(tmp_path / "run/trained.keras").input_shape == (None, 224, 224, 3)
    assert "1 training image of 8 could not be read" in capsys.readouterr().out


@pytest.mark.slow
def test_consistency_of_changed_views(tree, tmp_path, capsys):
    """Of images from the disk, one of which is broken."""
    copy = shutil.copytree(tree, tmp_path / "images")
    next((copy / "train/n00").iterdir()).write_bytes(b"damaged")
    case, folder = CASES["multiprize"], tmp_path / "run"
    assert train_imagenet([*small(case, copy, folder), "--augmix", "--jsd", "--histograms"]) == 0
    assert "1 training image of 40 could not be read" in capsys.readouterr().out
    (row,) = [json.loads(line) for line in (folder / "metrics/training.jsonl").read_text().splitlines()]
    assert row["train_divergence"] > 0
    assert keras.saving.load_model(folder / "trained.keras").input_shape == (None, 64, 64, 3)


@pytest.mark.slow
def test_two_processes(tree, tmp_path, start_workers):
    case = CASES["ticket"]
    words = small(case, tree, tmp_path / "run")
    workers = start_workers([str(ROOT / "train_imagenet.py"), *words, "--strategy", "multi_worker"], cwd=tmp_path)
    for worker in workers:
        output, error = worker.communicate(timeout=400)
        assert worker.returncode == 0, error
        assert ("results in" in output) == (worker is workers[0])
    alone = tmp_path / "alone"
    assert train_imagenet(small(case, tree, alone)) == 0
    one, two = (
        [json.loads(line) for line in (folder / "metrics/training.jsonl").read_text().splitlines()]
        for folder in (alone, tmp_path / "run")
    )
    assert two[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=1e-3)
