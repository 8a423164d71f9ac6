"""Writes docs/multiprize_experiments.md: how to run each experiment of the authors of the multi-prize tickets.

    python benchmarks/multiprize_experiments.py

Their 170 configuration files are the rows of docs/multiprize_experiments.csv. The text above the tables is written by
hand and stays.
"""

import argparse
import csv
import shlex
from collections.abc import Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

from pages import DOCS, rewrite
from program import new_parser

from tfprune.reading.yaml_file import read_settings
from tfprune.recipes.catalog import configs

ROOT = Path(__file__).resolve().parents[1]
PAGE, ROWS = DOCS / "multiprize_experiments.md", DOCS / "multiprize_experiments.csv"
OPEN_DENSITY = 0.2

# the authors' names without _BinAct -> ours; of networks that they can only build with signs, signs are meant
ARCHS = {
    **{f"Conv{n}{wide}": f"Conv{n}" for n in (2, 4, 6, 8) for wide in ("", "Wide")},
    **{f"cResNet{n}": f"ResNet-{n}" for n in (18, 20, 32, 34, 44, 56, 110)},
    "cResNet18_v2": "ResNet-18-v2",
    "FC": "LeNet-300-100",
    "VGG_Small": "VGG-Small",
    "VGG_Small_bn": "VGG-Small-BN",
    "Wide_VGG_Small": "VGG-Small-BN",
    **{f"ResNet{n}": f"ResNet-{n}" for n in (18, 34, 50, 101)},
    **{f"WideResNet{n}_2": f"WideResNet-{n}-2" for n in (18, 34, 50, 101)},
    "WideResNet18_3": "WideResNet-18-2.5",
    "WideResNet34_3": "WideResNet-34-3",
    "ResNet34_v2": "ResNet-34-v2-twice",
    "ResNet50_v2": "ResNet-50-v2",
    "WideResNet18_v2": "WideResNet-18-2-v2-twice",
    "WideResNet34_2_v2": "WideResNet-34-2-v2-twice",
    "WideResNet50_2_v2": "WideResNet-50-2-v2-after",
}
BINARY_V2 = {
    "ResNet34_v2": "ResNet-34-v2",
    "WideResNet18_2_v2": "WideResNet-18-2-v2",
    "WideResNet34_2_v2": "WideResNet-34-2-v2",
    "WideResNet50_2_v2": "WideResNet-50-2-v2",
}
INITS = {"kn": "kaiming_normal", "": "kaiming_normal", "sc": "signed_constant"}
DATASETS = {"CIFAR10": "CIFAR10", "MNIST": "mnist", "ImageNet": "imagenet2012"}
# of the authors' Wide_VGG_Small; its widths are 16, 32 and 64
VGG_UNIT = 1 / 8


def is_binary(row: dict[str, str]) -> bool:
    """Whether activations are signs."""
    return "_BinAct" in row["arch"] or row["arch"] == "Wide_VGG_Small"


def our_arch(row: dict[str, str]) -> str:
    """Our name of the architecture."""
    name = row["arch"].replace("_BinAct", "")
    return BINARY_V2[name] if is_binary(row) and name in BINARY_V2 else ARCHS[name]


def width(row: dict[str, str]) -> float:
    """Factor of the widths of our architecture."""
    factor = float(row["width"] or 1)
    if row["arch"] == "Wide_VGG_Small":
        return factor * VGG_UNIT
    return factor if "Wide" in row["arch"] and not row["arch"].startswith("WideResNet") else 1.0


def wanted(row: dict[str, str]) -> dict[str, Any]:
    """Our settings for one of the authors' configurations."""
    dense = row["conv"] != "Subnet"
    settings: dict[str, Any] = {
        "dataset": DATASETS[row["dataset"]],
        "arch": our_arch(row),
        "width_multiplier": width(row),
        "binary_activations": is_binary(row),
        "init": INITS[row["init"]],
        "scale_fan": "sparsity" if row["scale_fan"] and not dense else "off",
        "dense": dense,
        "optimizer": row["optimizer"],
        "learning_rate": float(row["lr"]),
        "lr_policy": row["schedule"],
        "warmup_epochs": int(row["warmup"] or 0),
        "label_smoothing": float(row["label_smoothing"] or 0),
        "epochs": int(row["epochs"]),
        "batch_size": int(row["batch_size"]),
    }
    if row["batch_norm"] != "NonAff":
        settings["batch_norm"] = "affine"
    elif dense:
        settings["batch_norm"] = "fixed"
    if row["optimizer"] == "sgd":
        decay = 2**-15 if row["weight_decay"] == "2^-15" else float(row["weight_decay"])
        settings |= {"momentum": float(row["momentum"]), "weight_decay": decay}
    if not dense:
        rate = float(row["prune_rate"])
        settings["density"] = rate if rate > 0 else OPEN_DENSITY
    return settings


def family(row: dict[str, str]) -> str:
    """The file of ours that the experiment belongs to."""
    dense, binary = row["conv"] != "Subnet", is_binary(row)
    binact = "_binact" if binary else ""
    if row["dataset"] == "ImageNet":
        slow = row["lr"] == "0.0002"
        return (
            "imagenet_wideresnet34_binact_slow" if slow else f"imagenet_resnet50{'_dense' if dense else binact + '_kn'}"
        )
    arch = our_arch(row)
    if dense and not arch.startswith("ResNet"):
        kind = "fc" if arch.startswith("LeNet") else "conv"
        return f"{kind}_dense" + ("_adam" if row["optimizer"] == "adam" and kind == "conv" else "")
    if dense:
        return f"resnet18{binact}_dense"
    if arch.startswith("VGG"):
        return f"vgg_small{binact}_kn"
    if arch.startswith("Conv"):
        return f"{arch.lower()}{binact}_kn"
    small = arch.removeprefix("ResNet-") in ("20", "32", "44", "56", "110")
    return f"resnet20{binact}_ukn" if small else f"resnet18{binact}_kn"


def command(row: dict[str, str]) -> str:
    """The command line for one of the authors' configurations."""
    large = row["dataset"] == "ImageNet"
    file = f"configs/multiprize/{family(row)}.yaml"
    defaults = {each.name: each.default for each in fields(configs(imagenet=large)["multiprize"])}
    there = defaults | read_settings(ROOT / file)
    words = ["python", "train_imagenet.py" if large else "train_cifar.py", "--config", file]
    words += ["--data_path", "IMAGENET"] if large else []
    for name, value in wanted(row).items():
        if there[name] == value:
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no_{name}")
        else:
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join([*words, "--name", Path(row["config"]).stem])


def note(row: dict[str, str]) -> str:
    """What is not as in the authors' file, and why."""
    notes = []
    if row["conv"] == "Subnet" and row["prune_rate"] == "-1":
        notes.append("density open")
    if row["conv"] == "RG":
        notes.append("dense: there is no conv type `RGConv`")
    if row["conv"] == "Dense" and row["scale_fan"]:
        notes.append("unscaled: there a dense net's fan was doubled by `scale_fan` with prune rate -1")
    if row["note"] == "40 logits":
        notes.append("10 logits; `--final_pool 4` for their 40")
    if row["note"] == "BROKEN forward":
        notes.append("crashes there: a block's batch norm behind the sum had the channels of another place")
    if row["note"] == "BROKEN build":
        notes.append("crashes there: widths were fractions")
    if "-twice" in our_arch(row):
        notes.append(f"one batch norm at two places of a block; at one: `{our_arch(row).removesuffix('-twice')}`")
    if row["width"] and float(row["width"]) != 1 and "Wide" not in row["arch"]:
        notes.append(f"width {row['width']} had no effect on this network")
    return "; ".join(notes)


def experiments() -> list[dict[str, str]]:
    """The authors' configurations, in the order of their folders."""
    with ROWS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tables() -> str:
    """One table for each of the authors' folders."""
    lines: list[str] = []
    for folder, rows in groupby(experiments(), lambda row: str(Path(row["config"]).parent)):
        lines += [f"### configs/{folder}", "", "| file | command | note |", "| --- | --- | --- |"]
        lines += [f"| {Path(row['config']).name} | `{command(row)}` | {note(row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the tables into the page."""
    rewrite(make_parser().parse_args(arguments).page, "multiprize_experiments.py", tables())


if __name__ == "__main__":
    main()
