"""Writes docs/scopes.md: what each original prunes, and what its recipe prunes here by default.

    python benchmarks/scopes.py

The numbers of the originals are those that their code gave (`tests/golden/`), ours are counted in the models. The text
above and below the table is written by hand and stays.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from pages import DOCS, rewrite
from program import new_parser

import tfprune
from tfprune.graph import prunable_weights
from tfprune.recipes.catalog import configs
from tfprune.recipes.models import build_model
from tfprune.recipes.models.resnet import projection_names
from tfprune.recipes.peekaboo.pruning import unpruned_layers

PAGE = DOCS / "scopes.md"
HEAD = "| method | model, classes | first layer | 1x1 shortcuts | last layer | original | here | setting |"
RULE = "| --- | --- | --- | --- | --- | ---: | ---: | --- |"


@dataclass(frozen=True)
class Scope:
    """A model of an original.

    Attributes:
        method: The method.
        arch: Our name of the model.
        classes: Its number of classes.
        original: How many weights the original's code prunes among.
        setting: Flags here that choose.
    """

    method: str
    arch: str
    classes: int
    original: int
    setting: str


_PEEKABOO = "`--prune_classifier`, `--prune_shortcuts`"
_TICKETS = "`--last_ratio` for smart ratios"
_MULTIPRIZE = "`--first_layer_dense`, `--last_layer_dense`"
SCOPES = (
    *(
        Scope("Peek-a-Boo", arch, 10, count, _PEEKABOO)
        for arch, count in (
            ("ResNet-20", 270_256),
            ("ResNet-110", 1_721_776),
            ("ResNet-18", 11_159_232),
            ("ResNet-34", 21_259_968),
            ("ResNet-50", 23_447_232),
            ("WideResNet-28-10", 36_454_832),
            ("VGG-11-maxpool", 9_222_848),
            ("VGG-13-maxpool", 9_407_168),
            ("VGG-16-maxpool", 14_715_584),
            ("VGG-19-maxpool", 20_024_000),
            ("Conv4-BN", 2_425_024),
            ("Conv6-BN", 2_261_184),
        )
    ),
    *(
        Scope("Peek-a-Boo, ImageNet", arch, 1000, count, _PEEKABOO)
        for arch, count in (("ResNet-18", 11_506_880), ("ResNet-50", 22_734_016))
    ),
    *(
        Scope(method, arch, 10, count, setting)
        for method, setting in (("random tickets, SNIP, GraSP", _TICKETS), ("lottery tickets", "`--ticket magnitude`"))
        for arch, count in (("VGG-19", 20_024_000), ("ResNet-32x2", 1_855_584), ("ResNet-56x2", 3_420_000))
    ),
    *(
        Scope("multi-prize tickets", arch, classes, count, _MULTIPRIZE)
        for arch, classes, count in (
            ("Conv2", 10, 4_300_992),
            ("Conv4", 10, 2_425_024),
            ("Conv6", 10, 2_261_184),
            ("Conv8", 10, 5_275_840),
            ("VGG-Small", 10, 4_656_512),
            ("ResNet-18", 1000, 11_678_912),
            ("ResNet-50", 1000, 25_502_912),
        )
    ),
)


def unbuilt(scope: Scope) -> keras.Model:
    """Returns the model without values."""
    side = 64 if scope.classes == 1000 else 32
    biases = {"conv_bias": False, "classifier_bias": False} if scope.method == "multi-prize tickets" else {}
    with keras.StatelessScope(initialize_variables=False):
        return build_model(
            scope.arch,
            num_classes=scope.classes,
            input_shape=(side, side, 3),
            init="ones",
            classifier_init="ones",
            **biases,
        )


def peekaboo_scope(scope: Scope, model: keras.Model) -> tuple[str, ...]:
    """Returns the layers that Peek-a-Boo's recipe leaves whole by default."""
    large = scope.classes == 1000
    images = {"data_path": "images"} if large else {}
    return unpruned_layers(configs(imagenet=large)["peekaboo"](arch=scope.arch, **images), model)


def row(scope: Scope) -> str:
    """Returns the line of the table for a model."""
    model = unbuilt(scope)
    ignored = peekaboo_scope(scope, model) if scope.method.startswith("Peek-a-Boo") else ()
    weights = prunable_weights(model, ignore=ignored)
    names = [name.partition("/")[0] for name in weights]
    every = [layer.name for layer in model.layers if hasattr(layer, "kernel")]
    shortcuts = projection_names(model)

    def treated(layers: Sequence[str], kept: str) -> str:
        if not layers:
            return "none"
        return "pruned" if set(layers) <= set(names) else kept

    whole = "kept, trained by signs" if scope.classes == 1000 else "kept"
    last = "kept, but counted" if scope.method.startswith("lottery") else treated(every[-1:], "kept")
    count = sum(int(np.prod(weight.shape)) for weight in weights.values())
    cells = (
        scope.method,
        f"`{scope.arch}`, {scope.classes}",
        treated(every[:1], "kept"),
        treated(shortcuts, whole),
        last,
        f"{scope.original:,}",
        f"{count:,}",
        scope.setting,
    )
    return f"| {' | '.join(cells)} |"


def channels_row() -> str:
    """Returns the line of EKG."""
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3), seed=0)
    groups = tfprune.channel_groups(model)
    here = f"{groups.channels:,} channels in {len(groups)} groups"
    return f"| EKG | `ResNet-56`, 10 | channels | channels | its inputs | 1,120 channels in 30 groups | {here} | |"


def image_rows() -> list[str]:
    """Returns the lines of the DPP experiments, whose models have one pruned layer."""
    rows = (
        ("student of 6 nodes, 500 inputs", 500 * 6),
        ("784-500-500-10 for MNIST", 784 * 500),
        ("3072-1000-1000-1000-10 for CIFAR-10", 3072 * 1000),
    )
    return [f"| DPP | {name} | pruned | none | kept | {count:,} | the same layer | |" for name, count in rows]


def table() -> str:
    """Returns the table."""
    return "\n".join([HEAD, RULE, *map(row, SCOPES), channels_row(), *image_rows()])


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser


def main(arguments: Sequence[str] | None = None, make_table: Callable[[], str] = table) -> None:
    """Writes the table into the page."""
    rewrite(make_parser().parse_args(arguments).page, "scopes.py", make_table())


if __name__ == "__main__":
    main()
