"""Peek-a-Boo's settings files and defaults train as the original's commands do, epoch by epoch.

The reference is what the original's two training scripts do with their flags, in plain Python: `main_cifar.py` divides
the learning rate at milestones and multiplies `ar` after an epoch, `main_imagenet_train.py` divides the learning rate
every 30 epochs and multiplies `ar` before an epoch.
"""

from pathlib import Path

import pytest

from tfprune.cli.parser import parse
from tfprune.recipes.catalog import configs
from tfprune.recipes.peekaboo.config import PeekabooConfig, PruneImageNetConfig
from tfprune.recipes.peekaboo.method import schedules

FILES = Path(__file__).parents[3] / "configs" / "peekaboo"
ImageNetConfig = configs(imagenet=True)["peekaboo"]
STEPS = 3  # of an epoch


def cifar_rates(epochs, freq, ratio):
    """Learning rate and `ar` of each epoch, with the original's defaults for all that its command leaves out."""
    learning_rate, ar = 0.1, 1e-3
    for epoch in range(epochs):
        if epoch in (80, 120):
            learning_rate /= 10
        yield learning_rate, ar
        if (epoch + 1) % freq == 0:
            ar *= ratio


def imagenet_rates(epochs, freq, ratio, batch_size=256):
    """The same of the other script."""
    ar = 1e-3
    for epoch in range(epochs):
        if (epoch + 1) % freq == 0:
            ar *= ratio
        yield 0.1 * batch_size / 256 * 0.1 ** (epoch // 30), ar


def check_rates(config, expected):
    learning_rate, ar = schedules(config, STEPS)
    expected = list(expected)
    assert config.epochs == len(expected)
    for epoch, (theirs, their_ar) in enumerate(expected):
        for step in (STEPS * epoch, STEPS * epoch + STEPS - 1):
            assert float(learning_rate(step)) == pytest.approx(theirs, rel=1e-6), epoch
            assert float(ar(step)) == pytest.approx(their_ar, rel=1e-12), epoch
    return expected


def test_cifar():
    file = parse(PeekabooConfig, ["--config", str(FILES / "cifar10_resnet18.yaml")])
    for config in (file, PeekabooConfig()):
        expected = check_rates(config, cifar_rates(180, 45, 0.15))
    assert len({ar for _, ar in expected}) == 4


@pytest.mark.parametrize("batch_size", [256, 1024])
def test_imagenet(batch_size):
    words = ["images", "--batch_size", str(batch_size)]
    file = parse(ImageNetConfig, ["--config", str(FILES / "imagenet_resnet50.yaml"), *words])
    for config in (file, parse(ImageNetConfig, words)):
        expected = check_rates(config, imagenet_rates(100, 30, 0.15, batch_size))
    changes = [epoch for epoch in range(1, 100) if expected[epoch] != expected[epoch - 1]]
    assert changes == [29, 30, 59, 60, 89, 90]  # `ar` drops an epoch before the learning rate


def test_what_else_the_commands_set():
    """Each command's flags, in our words, and the original's defaults of those that it leaves out."""
    shared = {
        "init_method": "kaiming_normal",
        "pruner": "SynFlow",
        "prune_iters": 100,
        "prune_epoch": 0,
        "prune_schedule": "exponential",
        "prune_scope": "global",
    }
    training = {
        "optimizer": "BOP",
        "tau": 1e-6,
        "momentum": 0.9,
        "psg": True,
        "psg_input_bits": 8,
        "psg_gradient_bits": 16,
        "psg_sparsify": True,
        "psg_take_sign": False,
        "seed": 0,
    }
    cifar = {"density": 0.3, "weight_decay": 5e-4, "batch_size": 128, "psg_relative_threshold": 1e-7}
    imagenet = {"density": 0.5, "weight_decay": 1e-4, "batch_size": 256, "psg_relative_threshold": 5e-7}
    for config_class, file, words, wanted in (
        (PeekabooConfig, "cifar10_resnet18", [], shared | training | cifar),
        (ImageNetConfig, "imagenet_resnet50", ["images"], shared | training | imagenet),
    ):
        config = parse(config_class, ["--config", str(FILES / f"{file}.yaml"), *words])
        assert {name: getattr(config, name) for name in wanted} == wanted
        without_psg = {name: value for name, value in wanted.items() if not name.startswith("psg")}
        default = parse(config_class, words)
        assert {name: getattr(default, name) for name in without_psg} == without_psg


def test_the_stage_of_pruning_prunes_as_one_run_does(tmp_path):
    words = ["images", "--out", str(tmp_path / "pruned.npz")]
    stage = parse(PruneImageNetConfig, ["--config", str(FILES / "prune_imagenet_resnet50.yaml"), *words])
    whole = parse(ImageNetConfig, ["--config", str(FILES / "imagenet_resnet50.yaml"), "images"])
    pruning = [name for name in whole.settings() if name.startswith("prun") or name in ("density", "init_method")]
    assert [name for name in pruning if name in stage.settings()]
    for name in pruning:
        assert getattr(stage.training(), name) == getattr(whole, name), name
