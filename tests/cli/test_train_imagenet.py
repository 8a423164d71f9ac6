"""`train_imagenet.py`: its words and mistakes, and Peek-a-Boo in two stages on small trees of JPEG files.

`test_imagenet_methods.py` has the other methods.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.jpeg_tree import cifar_tree, digits_tree
from tfprune.cli.programs import IMAGENET_STAGES, train_imagenet

ROOT = Path(__file__).parents[2]
SMALL = ["--arch", "Conv2-BN", "--image_size", "8", "--prune_iters", "4"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return digits_tree(tmp_path_factory.mktemp("images"), classes=3, train=8, test=3, side=24)


@pytest.fixture(scope="module")
def pruned(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("pruned") / "pruned.npz"
    assert train_imagenet(["prune", *SMALL, "--density", "0.5", "--out", str(path), str(tree)]) == 0
    return path


def train(tree, pruned, folder, *words):
    flags = "--resize_size 10 --epochs 2 --batch_size 8 --val_batch_size 9 --do_log 1 --no_export --learning_rate 0.32"
    return train_imagenet(
        ["train", "--masks", str(pruned), *SMALL, *flags.split(), "--train_path", str(folder), *words, str(tree)]
    )


@pytest.fixture(scope="module")
def trained(tree, pruned, tmp_path_factory):
    """The folder of a run. Its seed would give other initial weights than those of the file."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train(tree, pruned, folder, "--seed", "5") == 0
    return folder


@pytest.mark.parametrize("name", ["", *IMAGENET_STAGES, "--method multiprize"])
def test_help_without_tensorflow(name):
    code = (
        "import sys, runpy\n"
        "sys.modules['tensorflow'] = None\n"
        f"sys.argv = ['train_imagenet.py', *{name.split()!r}, '--help']\n"
        "runpy.run_path('train_imagenet.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: train_imagenet.py {f'{name} ' if name in IMAGENET_STAGES else ''}DATA_PATH ")
    assert "--learning_rate" in done.stdout or name == "prune"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "train_imagenet.py: error: DATA_PATH is missing: Folder with images"),
        (["prunes"], "train_imagenet.py: error: no images in prunes; expected folders train/CLASS/*.JPEG"),
        (["data", "--method", "ticked"], "train_imagenet.py: error: --method: unknown method 'ticked'; did you mean"),
        (["--data_path", "data", "--method", "dense"], "data/train holds no images; expected train/CLASS/*.JPEG"),
        (["--image_size", "0", "data"], "--image_size: expected a value above 0, received 0"),
        (["other", "--dataset", "imagenette"], "or imagenette/ as TensorFlow Datasets prepares it"),
        (["one", "--method", "ticket"], "class n02 of train is missing in val; add val/n02, or remove it from train"),
        (
            ["two", "--method", "ticket"],
            "none of several training images of two can be read, such as two/train/n01/1.jpg",
        ),
        (["prune", "--out", "a.npz"], "train_imagenet.py prune: error: DATA_PATH is missing: Folder with images"),
        (["prune", "data"], "train_imagenet.py prune: error: --out is missing: File to write"),
        (["prune", "data", "--out", "a.pth"], "expected a file to write that ends in .npz, received a.pth"),
        (["prune", "data", "--out", "one/train/n01/1.jpg/a.npz"], "1.jpg is no folder; name another"),
        (
            ["prune", "data", "--out", "a.npz", "--density", "0"],
            "--density: expected a value above 0 and at most 1",
        ),
        (["prune", "data", "--out", "a.npz", "--pruner", "none"], "--pruner: expected a criterion to prune by"),
        (["prune", "data", "--out", "a.npz"], "data holds no"),
        (["prune", "nowhere", "--out", "a.npz"], "no images in nowhere; expected folders train/CLASS/*.JPEG"),
        (["train", "data", "--resize_size", "100"], "--resize_size: expected at least image_size, 224, received 100"),
        (["train", "data", "--tau", "-1"], "--tau: expected a value of at least 0, received -1"),
    ],
)
def test_mistakes_end_with_one_line(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "data" / "train").mkdir(parents=True)
    for file in (
        "one/train/n01/1.jpg",
        "one/train/n02/1.jpg",
        "one/val/n01/1.jpg",
        "two/train/n01/1.jpg",
        "two/val/n01/1.jpg",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"no image")
    message = message.replace("data holds no", "data/train holds no images; expected train/CLASS/*.JPEG")
    assert train_imagenet(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_data_on_the_disk_stay_as_they_are(tree, tmp_path, capsys):
    words = ["--method", "ticket", "--arch", "Conv2-BN", "--image_size", "8", "--train_path", str(tmp_path / "run")]
    for change, message in (
        (["--fraction", "0.5"], "--fraction: expected 1 for images that are read from the disk, received 0.5"),
        (["--random_labels"], "expected none of them for images that are read from the disk"),
    ):
        assert train_imagenet([*words, "--batch_size", "8", *change, str(tree)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_file_holds_masks_and_the_initial_weights(tree, pruned, tmp_path, capsys):
    from tfprune.masks import Ticket
    from tfprune.recipes.models import build_model

    ticket = Ticket.load(pruned)
    assert dict(ticket.origin) == {"arch": "Conv2-BN", "num_classes": 3, "stem": "large"}
    assert ticket.masks.kept == ticket.masks.total - int(0.5 * ticket.masks.total)
    assert "fc/kernel" in ticket.masks  # on ImageNet, the original prunes it, too
    options = {"num_classes": 3, "input_shape": (8, 8, 3), "padding": "symmetric"}
    model = build_model("Conv2-BN", **options, seed=0, init="kaiming_normal")
    for variable in model.variables:
        np.testing.assert_array_equal(ticket.weights[variable.path], variable)
    again = ["prune", *SMALL, "--density", "0.5", "--out", str(pruned), str(tree)]
    assert train_imagenet(again) == 2
    assert "exists; add --overwrite to replace it" in capsys.readouterr().err


def test_training_starts_from_the_file(pruned, trained):
    import keras

    from tfprune.masks import Ticket

    ticket = Ticket.load(pruned)
    initial = keras.models.load_model(trained / "initial.keras")
    for variable in initial.variables:
        np.testing.assert_array_equal(ticket.weights[variable.path], variable)
    result = keras.models.load_model(trained / "trained.keras")
    flipped = 0
    for name, mask in ticket.masks.items():
        kernel = next(np.asarray(variable) for variable in result.variables if variable.path == name)
        assert not kernel[~mask].any()
        if "conv" in name:  # Bop only ever changes signs
            np.testing.assert_array_equal(np.abs(kernel), np.abs(ticket.weights[name]) * mask)
            flipped += np.count_nonzero(np.sign(kernel) != np.sign(ticket.weights[name]) * mask)
    assert flipped > 0
    results = json.loads((trained / "results.json").read_text())
    assert results["kept"] == ticket.masks.kept
    rows = [json.loads(line) for line in (trained / "metrics/training.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6)]
    assert rows[0]["learning_rate"] == pytest.approx(0.32 * 8 / 256)


@pytest.mark.slow
def test_interrupted_in_the_middle_of_an_epoch(tree, pruned, trained, tmp_path, monkeypatch, capsys):
    """Ctrl-C, then `--resume`: the same weights as without, so Bop's state and the data go on where they were."""
    import keras

    from tfprune.recipes.training import Loop

    step, steps = Loop.run_step, []

    def interrupting(self, batch):
        steps.append(batch)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    monkeypatch.setattr(Loop, "run_step", interrupting)
    assert train(tree, pruned, tmp_path / "broken", "--seed", "5") == 130
    assert "continue with --resume" in capsys.readouterr().err
    assert not (tmp_path / "broken/trained.keras").exists()
    assert train(tree, pruned, tmp_path / "broken", "--seed", "5", "--resume") == 0
    assert len(steps) == 6
    whole, broken = (keras.models.load_model(folder / "trained.keras") for folder in (trained, tmp_path / "broken"))
    for one, other in zip(whole.variables, broken.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_masks_of_another_model(tree, pruned, tmp_path, capsys):
    assert train(tree, pruned, tmp_path / "run", "--arch", "Conv4-BN") == 2
    assert "the masks belong to arch 'Conv2-BN', received a model of arch 'Conv4-BN'" in capsys.readouterr().err
    other = digits_tree(tmp_path / "four", classes=4, train=4, test=1, side=24)
    assert train(other, pruned, tmp_path / "run") == 2
    assert "the masks belong to num_classes 3, received a model of num_classes 4" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_broken_images_are_reported(tree, pruned, tmp_path, capsys):
    copy = shutil.copytree(tree, tmp_path / "copy")
    (copy / "train/n01/n01_003.JPEG").write_bytes(b"damaged")
    (copy / "val/n02/n02_009.JPEG").write_bytes(b"")
    assert train(copy, pruned, tmp_path / "run", "--epochs", "1") == 0
    shown = capsys.readouterr().out
    assert "1 training image of 24 could not be read and was skipped" in shown
    assert "1 test image of 9 could not be read and was skipped" in shown


def test_batch_of_nothing_but_broken_images(tree, pruned, tmp_path, capsys):
    copy = shutil.copytree(tree, tmp_path / "copy")
    for file in sorted(copy.glob("train/*/*"))[1:]:
        file.write_bytes(b"damaged")
    assert train(copy, pruned, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "the training data cannot be read" in error
    assert "no image of a training batch can be read" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_predictive_sign_gradients(tree, pruned, trained, tmp_path):
    import keras

    assert train(tree, pruned, tmp_path / "run", "--seed", "5", "--psg", "--epochs", "1") == 0
    kernels = [
        next(np.asarray(variable) for variable in keras.models.load_model(folder / "trained.keras").variables)
        for folder in (trained, tmp_path / "run")
    ]
    np.testing.assert_array_equal(*map(np.abs, kernels))
    assert np.any(kernels[0] != kernels[1])


@pytest.mark.slow
def test_real_images(tfds_folder, tmp_path):
    """CIFAR-10 as a tree of files: two classes' worth of learning in a few epochs."""
    tree = cifar_tree(tmp_path / "cifar", tfds_folder, train=40, test=20, side=48)
    for name in [f"n{label:02d}" for label in range(2, 10)]:
        shutil.rmtree(tree / "train" / name)
        shutil.rmtree(tree / "val" / name)
    size = ["--arch", "ResNet-20", "--stem", "small", "--image_size", "32"]
    out = str(tmp_path / "pruned.npz")
    snip = ["--pruner", "SNIP", "--prune_iters", "1", "--prune_images", "40"]
    assert train_imagenet(["prune", *size, *snip, "--out", out, str(tree)]) == 0
    flags = "--resize_size 36 --epochs 20 --batch_size 16 --learning_rate 1 --milestones 15 --no_export"
    words = [*size, *flags.split(), "--train_path", str(tmp_path / "run")]
    assert train_imagenet(["train", "--masks", out, *words, str(tree)]) == 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["density"] == pytest.approx(0.5, abs=1e-4)
    assert results["accuracy"] > 0.65  # of 40 test images, 20 of each class: chance gives more in one of 40 runs
