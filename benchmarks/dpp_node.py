"""Accuracy of networks whose channels were drawn by dpp_node, with data and without, beside chance and size.

Equal densities of all groups, no training; batch norms are measured again on the images that dpp_node looks at. The
networks are small residual ones trained on the digits, each seed another network and another draw, which are reweighted
on these images, too; or, with `--trained_param`, one CIFAR-10 network, each seed another draw.

    OMP_NUM_THREADS=1 python benchmarks/dpp_node.py --out benchmarks/results/dpp_node_digits.jsonl
    OMP_NUM_THREADS=1 python benchmarks/dpp_node.py --trained_param res56_cifar10.pkl --data_path DIR \
        --density 0.9 0.75 --examples 512 --tests 1000 --out benchmarks/results/dpp_node_resnet56.jsonl
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from program import new_parser, use_threads
from reweighting import trained_network

from tfprune.criteria import DPPNode, Random
from tfprune.files import write_text
from tfprune.pruning import plan_channels
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import ImageData, load_data
from tfprune.recipes.models import load_checkpoint

COLUMNS = ("recalibrated", "reweighted")
WAYS = ("dpp_node", "dpp_node with data", "random", "l1")


@dataclass(frozen=True)
class Examples:
    """Images to look at, and to test on with their labels."""

    images: np.ndarray
    tests: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, data: ImageData, count: int, tests: int) -> "Examples":
        """The first so many of each."""
        return cls(
            data.normalize(data.train_images[:count]),
            data.normalize(data.test_images[:tests]),
            data.test_labels[:tests],
        )

    def accuracy(self, model: keras.Model) -> float:
        """Of the tests."""
        return float(np.mean(np.argmax(model.predict(self.tests, batch_size=250, verbose=0), axis=1) == self.labels))


def rows(model: keras.Model, examples: Examples, seed: int, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each way and density; those that chance has no part in only once for each network."""
    whole = examples.accuracy(model)
    same = args.trained_param is not None
    for density in args.density:
        for way in WAYS[:-1] if same and seed else WAYS:
            criterion = {"random": Random(seed), "l1": "l1"}.get(way, DPPNode(density, seed))
            data = (examples.images, None) if way == "dpp_node with data" else None
            plan = plan_channels(model, criterion, density=density, scope="local", data=data)
            row = {"seed": seed, "way": way, "density": density, "unpruned": whole}
            for name in COLUMNS[:1] if same else COLUMNS:
                small = plan.apply(reweight=examples.images if name == "reweighted" else None)
                recalibrate_batch_norm(small, examples.images)
                row[name] = examples.accuracy(small)
            yield row


def networks(args: argparse.Namespace, data: ImageData) -> Iterator[tuple[int, keras.Model]]:
    """Seeds, and the network of each."""
    for seed in range(args.seeds):
        if args.trained_param is None:
            yield seed, trained_network(data.normalize(data.train_images), data.train_labels, seed, args.epochs)
        else:
            shape = {"num_classes": data.num_classes, "input_shape": data.input_shape}
            yield seed, load_checkpoint(args.trained_param, arch=args.arch, **shape)


def show(found: Sequence[dict[str, Any]], densities: Sequence[float]) -> None:
    """Prints means over the seeds, with their standard errors, in Markdown."""
    for name in (name for name in COLUMNS if name in found[0]):
        for way in WAYS:
            cells = []
            for density in densities:
                values = [row[name] for row in found if (row["way"], row["density"]) == (way, density)]
                error = f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.3f}{error}")
            print(f"| {way}, {name} | {' | '.join(cells)} |")
    print("unpruned:", *(f"{value:.3f}" for value in {row["seed"]: row["unpruned"] for row in found}.values()))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--density", type=float, nargs="+", default=(0.75, 0.5, 0.3))
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--tests", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=8, help="of the small networks' training")
    parser.add_argument("--trained_param")
    parser.add_argument("--arch", default="ResNet-56")
    parser.add_argument("--dataset", help="default: CIFAR10 with --trained_param, otherwise digits")
    parser.add_argument("--data_path")
    parser.add_argument("--out", type=Path)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints a table, and writes."""
    args = make_parser().parse_args(arguments)
    use_threads(1)
    data = load_data(args.dataset or ("digits" if args.trained_param is None else "CIFAR10"), args.data_path)
    examples = Examples.of(data, args.examples, args.tests)
    found: list[dict[str, Any]] = []
    for seed, model in networks(args, data):
        for row in rows(model, examples, seed, args):
            found.append(row)
            print(row, flush=True)
        if args.out is not None:
            write_text(args.out, "".join(json.dumps(row) + "\n" for row in found))
    show(found, args.density)


if __name__ == "__main__":
    main()
