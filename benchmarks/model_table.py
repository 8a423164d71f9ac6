"""Writes docs/models.md: every architecture, its source, its size and where it is used.

    python benchmarks/model_table.py

The text above and below the table is written by hand and stays.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from pages import DOCS, rewrite
from program import new_parser

from tfprune.recipes.models import build_model, model_names
from tfprune.recipes.models.architectures import GROUPS

PAGE = DOCS / "models.md"

SOURCES = {
    "resnet": "He et al., CVPR 2016",
    "double_resnet": "Su et al., random tickets, NeurIPS 2020",
    "wide_resnet": "Diffenderfer & Kailkhura, multi-prize tickets, ICLR 2021",
    "resnet_v2": "multi-prize tickets, the authors' code",
    "vgg": "Simonyan & Zisserman, ICLR 2015, with batch norm",
    "small_vgg": "multi-prize tickets",
    "conv": "Frankle & Carbin, lottery tickets, ICLR 2019",
    "dense": "LeCun et al., 1998; lottery tickets",
}
USES = {
    "double_resnet": "random tickets",
    "wide_resnet": "multi-prize tickets",
    "resnet_v2": "multi-prize tickets",
    "vgg": "random tickets",
    "small_vgg": "multi-prize tickets",
    "conv": "multi-prize tickets",
    "dense": "multi-prize tickets (MNIST)",
}
# of the methods' originals; ours take any
RESNET_USES = {
    "EKG": (20, 32, 56, 110, 18, 34, 50),
    "Peek-a-Boo": (20, 110, 18, 34, 50, 101, 152),
    "multi-prize tickets": (20, 32, 44, 56, 110, 18, 34, 50, 101),
}


def source_and_use(group: str, arch: str) -> tuple[str, str]:
    """Where an architecture comes from, and what uses it."""
    if group == "resnet":
        depth = int(arch.rpartition("-")[2])
        return SOURCES[group], ", ".join(method for method, depths in RESNET_USES.items() if depth in depths)
    if arch == "WideResNet-28-10":
        return "Zagoruyko & Komodakis, BMVC 2016", "Peek-a-Boo"
    if arch in ("WideResNet-50-2", "WideResNet-101-2"):
        return "Zagoruyko & Komodakis, BMVC 2016", USES[group]
    if arch.endswith("-maxpool"):
        return SOURCES[group], "Peek-a-Boo"
    if arch in ("Conv4-BN", "Conv6-BN"):
        return SOURCES[group] + ", with batch norm", "Peek-a-Boo"
    if arch.endswith("-BN") and group == "conv":
        return SOURCES[group] + ", with batch norm", "beside Conv4-BN and Conv6-BN"
    return SOURCES[group], USES[group]


def row(group: str, arch: str) -> str:
    """An architecture's line of the table; sizes are those for images of CIFAR-10 (of MNIST for dense networks)."""
    shape = (28, 28, 1) if group == "dense" else (32, 32, 3)
    model = build_model(arch, num_classes=10, input_shape=shape, init="ones", classifier_init="ones")
    kernels = [layer.kernel for layer in model.layers if getattr(layer, "kernel", None) is not None]
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    weights = sum(int(np.prod(kernel.shape)) for kernel in kernels)
    source, use = source_and_use(group, arch)
    return f"| `{arch}` | {trained:,} | {weights:,} | {len(kernels)} | {source} | {use} |"


def table(groups: Iterable[str] = GROUPS) -> str:
    """Returns the table of these families."""
    lines = [
        "| name | parameters | weights of kernels | kernels | source | used by |",
        "| --- | ---: | ---: | ---: | --- | --- |",
    ]
    for group in groups:
        for arch in model_names(group):
            lines.append(row(group, arch))
            keras.backend.clear_session()
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--groups", nargs="+", choices=tuple(GROUPS), default=tuple(GROUPS), help="families")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the table into the page."""
    options = make_parser().parse_args(arguments)
    rewrite(options.page, "model_table.py", table(options.groups))


if __name__ == "__main__":
    main()
