"""The authors' 170 configuration files: each has a command in docs/multiprize_experiments.md that says the same."""

import csv
import re
import shlex
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.recipes.models.test_golden_biprop import MODELS
from tfprune.cli.parser import parse
from tfprune.cli.programs import pick_method
from tfprune.reading.yaml_file import read_settings
from tfprune.recipes.catalog import configs
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.multiprize.models import random_model
from tfprune.recipes.run_config import RunConfig

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "multiprize_experiments.md").read_text(encoding="utf-8")
LARGE = {"num_classes": 1000}
BINARY = {"activation": "binary"}
# what the networks that crash there were meant to be, and those whose logits are repaired
REPAIRED = {
    "ResNet50_v2": ("ResNet-50-v2", LARGE),
    "WideResNet50_2_v2": ("WideResNet-50-2-v2-after", LARGE),
    "WideResNet18_3_BinAct": ("WideResNet-18-2.5", LARGE | BINARY),
}
IMAGES = {"CIFAR10": (10, (32, 32, 3)), "mnist": (10, (28, 28, 1)), "imagenet2012": (1000, (224, 224, 3))}


def rows():
    with (ROOT / "docs" / "multiprize_experiments.csv").open(encoding="utf-8", newline="") as file:
        return {row["config"]: row for row in csv.DictReader(file)}


def commands():
    """The page's commands by the authors' file."""
    found, folder = {}, ""
    for line in PAGE.splitlines():
        if line.startswith("### configs/"):
            folder = line.removeprefix("### configs/")
        elif match := re.fullmatch(r"\| (\S+\.ya?ml) \| `(python .*?)` \|.*\|", line):
            found[f"{folder}/{match[1]}"] = match[2]
    return found


ROWS, COMMANDS = rows(), commands()


def settings(path):
    """What an experiment's command says."""
    _, script, *words = shlex.split(COMMANDS[path])
    return parse(pick_method(words, configs(imagenet=script == "train_imagenet.py"), default="ekg"), words)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_experiment_has_a_command():
    assert len(ROWS) == 170
    assert list(COMMANDS) == list(ROWS)


def test_every_settings_file_is_used_and_understood():
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "configs" / "multiprize").glob("*")}
    assert files == {file for command in COMMANDS.values() for file in re.findall(r"configs/\S+", command)}
    for file in files:
        values = read_settings(file)
        assert values["method"] == "multiprize"
        assert values["name"] == Path(file).stem
        imagenet = "imagenet_" in file
        kind, more = configs(imagenet=imagenet)["multiprize"], ["there"] if imagenet else []
        more += [] if values.get("dense") else ["--density", "0.5"]
        config = parse(kind, ["--config", file, *more])
        assert config.default_path == f"runs/{config.name}/density={config.kept:g}/{config.name}"


@pytest.mark.parametrize("path", ROWS)
def test_settings_are_the_authors(path):
    row, config = ROWS[path], settings(path)
    arch, options = (REPAIRED | MODELS)[row["arch"]]
    dense = row["conv"] != "Subnet"
    assert (config.arch, config.binary_activations) == (arch, options.get("activation") == "binary")
    assert IMAGES[config.dataset][0] == options.get("num_classes", 10)
    assert config.dataset == {"CIFAR10": "CIFAR10", "MNIST": "mnist", "ImageNet": "imagenet2012"}[row["dataset"]]
    assert config.width_multiplier == float(width(row)) * options.get("width_multiplier", 1)
    assert (config.dense, config.scope, config.selection) == (dense, "layer", "top")
    if not dense:
        assert config.density == (0.2 if row["prune_rate"] == "-1" else float(row["prune_rate"]))
    assert config.affine == (row["batch_norm"] != "NonAff")
    assert (config.learn_batchnorm, config.bias_only, config.tune_batchnorm) == (False, False, False)
    assert config.init == {"kn": "kaiming_normal", "": "kaiming_normal", "sc": "signed_constant"}[row["init"]]
    scaled = bool(row["scale_fan"]) and not dense
    assert config.fan_scale == (1 - config.kept if scaled else 1)
    assert (config.mode, config.nonlinearity) == ("fan_in", "relu")
    assert config.optimizer == row["optimizer"]
    assert (config.learning_rate, config.lr_policy) == (float(row["lr"]), row["schedule"])
    assert config.warmup_epochs == int(row["warmup"] or 0)
    assert (config.epochs, config.batch_size) == (int(row["epochs"]), int(row["batch_size"]))
    assert config.label_smoothing == float(row["label_smoothing"] or 0)
    if row["optimizer"] == "sgd":
        decay = 2**-15 if row["weight_decay"] == "2^-15" else float(row["weight_decay"])
        assert (config.momentum, config.weight_decay, config.nesterov) == (float(row["momentum"]), decay, False)
    assert (config.bn_decay, config.grad_clip, config.augmix, config.gaussian_noise) == (True, False, False, False)


def width(row):
    """Their factor of the widths, which only the networks with Wide in their names look at."""
    return row["width"] or 1 if re.match("Conv.Wide|Wide_VGG", row["arch"]) else 1


def key(path):
    """What a network's size depends on."""
    return ROWS[path]["arch"], float(width(ROWS[path]))


NETWORKS = {key(path): path for path in ROWS}
DEEP = re.compile(r".*(34|44|50|56|101|110|18_3)")
EACH = [pytest.param(k, marks=pytest.mark.slow if DEEP.match(k[0]) else (), id=f"{k[0]}-{k[1]:g}") for k in NETWORKS]


@pytest.fixture(scope="module")
def golden_weights(golden_biprop):
    """Weights, BN channels, layers with weights and batch norms by the authors' name and width."""
    counts = golden_biprop["params/conv_weights__scores__bn_channels__n_conv__n_bn"]
    table = {(str(name), 1.0): row for name, row in zip(golden_biprop["params/names"], counts.tolist(), strict=True)}
    wide = zip(golden_biprop["params/wide_names"], golden_biprop["params/wide_mult"], strict=True)
    wide_weights = golden_biprop["params/wide_conv_weights"].tolist()
    return table | {(str(n), float(m)): [w] for (n, m), w in zip(wide, wide_weights, strict=True)}


@pytest.mark.parametrize("network", EACH)
def test_networks_have_the_golden_size(network, golden_weights):
    config = settings(NETWORKS[network])
    classes, shape = IMAGES[config.dataset]
    with keras.StatelessScope(initialize_variables=False):  # shapes without memory
        model = random_model(config, SimpleNamespace(num_classes=classes, input_shape=shape))
    assert model.output_shape == (None, classes)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert all((layer.gamma is not None) == (layer.beta is not None) == config.affine for layer in norms)
    sizes = [int(np.prod(layer.kernel.shape)) for layer in model.layers if hasattr(layer, "kernel")]
    channels = [layer.moving_mean.shape[0] for layer in norms]
    if network[0] == "WideResNet18_3_BinAct":
        assert sum(sizes) == basic_weights((64, 224, 448, 896))
        return
    weights, *rest = golden_weights.get(network) or golden_weights[network[0].removesuffix("_BinAct"), network[1]]
    assert sum(sizes) == weights
    if rest:
        assert [sum(channels), len(sizes), len(norms)] == rest[1:]


def basic_weights(widths):
    """Weights of an ImageNet ResNet-18 with these widths."""
    pairs = list(zip((64, *widths), widths, strict=False))
    blocks = sum(9 * (before * after + 3 * after * after) for before, after in pairs)
    return 147 * 64 + blocks + sum(a * b for a, b in pairs if a != b) + 1000 * widths[-1]


def test_weights_of_basic_blocks(golden_weights):
    assert basic_weights((64, 128, 256, 512)) == golden_weights["ResNet18", 1.0][0]
    assert basic_weights((64, 192, 384, 768)) == golden_weights["WideResNet18_2_BinAct", 1.0][0]


def test_the_table_of_flags_names_ours():
    ours = [line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| `--") or line.startswith("| arch")]
    flags = {flag.removeprefix("no_") for cell in ours for flag in re.findall(r"`--(\w+)", cell)}
    assert flags <= {field.name for field in fields(MultiPrizeConfig)}
    own = {field.name for field in fields(MultiPrizeConfig)} - {field.name for field in fields(RunConfig)}
    ours_alone = {"experiment", "final_pool", "original_quirks"}
    assert own - flags == ours_alone


def test_what_is_not_as_there_is_noted():
    lines = [line for line in PAGE.splitlines() if "| `python" in line]
    notes = {path: line.rsplit("|", 2)[1] for path, line in zip(ROWS, lines, strict=True)}
    for path, row in ROWS.items():
        expected = {
            "40 logits": "--final_pool 4",
            "BROKEN conv_type": "RGConv",
            "BROKEN forward": "crashes there",
            "BROKEN build": "crashes there",
        }.get(row["note"], "")
        assert expected in notes[path], path
        assert ("density open" in notes[path]) == (row["prune_rate"] == "-1" and row["conv"] == "Subnet")
