"""Accuracy of multi-prize tickets by density, beside the dense network: one table and one figure.

    python benchmarks/multiprize.py --data_path DIR

Every row is a run of `train_cifar.py --method multiprize`, all with the same seed and the same budget: so many epochs
of a part of the training images. Runs that were done are not repeated, one that was stopped goes on.
"""

import argparse
import csv
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from program import new_parser

from tfprune.recipes import multiprize
from tfprune.recipes.data import ImageData, load_data

DENSITIES = (0.8, 0.6, 0.5, 0.4, 0.2, 0.1)
_ORDER = (0.5, 0.1, 0.8, 0.2, 0.4, 0.6)
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"dense": True, "batch_norm": "fixed"},
    "MPT-1/32": {},
    "MPT-1/1": {"binary_activations": True, "optimizer": "adam"},
}
COLUMNS = ("kind", "asked_density", "kept", "prunable", "accuracy", "loss", "best_accuracy", "train_accuracy")
COLUMNS += ("learning_rate", "epochs", "fraction", "seed", "cpu_seconds")

Row = dict[str, Any]


def entries(densities: Sequence[float] = _ORDER) -> list[tuple[str, float]]:
    """Kind and density of each row, in the order in which they are run: coarse first."""
    subnets = [(kind, density) for density in densities for kind in KINDS if kind != "dense"]
    return [("dense", 1.0), *subnets]


def measure(kind: str, density: float, data: ImageData, args: argparse.Namespace) -> Row:
    """A run, and the row it gives."""
    rate = {"dense": args.dense_rate, "MPT-1/32": args.sgd_rate, "MPT-1/1": args.adam_rate}[kind]
    config = multiprize.MultiPrizeConfig(
        train_path=str(args.runs / f"{kind.lower().replace('/', '-')}-{density:g}"),
        resume=True,
        data_path=args.data_path,
        dataset=args.dataset,
        arch=args.arch,
        width_multiplier=args.width_multiplier,
        fraction=args.fraction,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=rate,
        seed=args.seed,
        export=False,
        **KINDS[kind],
        **({} if kind == "dense" else {"density": density, "scale_fan": args.scale_fan}),
    )
    start = time.process_time()
    result = multiprize.run(config, data)
    with (args.runs / Path(str(config.train_path)).name / "metrics" / "training.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    given = {"kind": kind, "asked_density": density, "learning_rate": rate, "train_accuracy": last["train_accuracy"]}
    given |= {name: getattr(args, name) for name in ("epochs", "fraction", "seed")}
    given["cpu_seconds"] = round(time.process_time() - start, 1)
    return {name: given.get(name, result.numbers.get(name)) for name in COLUMNS}


def read(path: Path) -> list[Row]:
    """The rows that were measured before."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Row) -> None:
    """Adds a row to the file."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def by_density(rows: Iterable[Row], kind: str) -> dict[float, Row]:
    """The rows of a kind."""
    return {float(row["asked_density"]): row for row in rows if row["kind"] == kind}


def table(rows: list[Row]) -> str:
    """Accuracies in Markdown: kinds by density."""
    densities = (1.0, *DENSITIES)
    lines = ["| | " + " | ".join(f"{density:g}" for density in densities) + " |", "|---" * (len(densities) + 1) + "|"]
    for kind in KINDS:
        cells = by_density(rows, kind)
        texts = [f"{float(cells[d]['accuracy']):.2%}" if d in cells else "" for d in densities]
        lines.append(f"| {kind} | {' | '.join(texts)} |")
    return "\n".join(lines)


def plot(rows: list[Row], file: Path, title: str) -> None:
    """Draws accuracy against density."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4), layout="constrained")
    for kind in KINDS:
        cells = by_density(rows, kind)
        accuracies = [100 * float(row["accuracy"]) for row in cells.values()]
        if kind == "dense" and accuracies:
            axes.axhline(accuracies[0], color="gray", linestyle=":", label="all weights trained")
        elif accuracies:
            points = sorted(zip(cells, accuracies, strict=True))
            axes.plot(*zip(*points, strict=True), "o-", label=f"{kind}, random weights")
    axes.set(xlabel="density (fraction of weights kept)", ylabel="accuracy on test images, %", title=title)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def _title(args: argparse.Namespace) -> str:
    width = "" if args.width_multiplier == 1 else f" at {args.width_multiplier:g} width"
    return f"{args.arch}{width} on {args.dataset}, {args.epochs} epochs of {args.fraction:.0%} of the images"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_path")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--arch", default="Conv2")
    parser.add_argument("--width_multiplier", type=float, default=0.5)
    parser.add_argument("--density", type=float, nargs="+", choices=DENSITIES, default=_ORDER)
    parser.add_argument("--fraction", type=float, default=0.4, help="of the training images")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--sgd_rate", type=float, default=0.1, help="learning rate of MPT-1/32")
    parser.add_argument("--adam_rate", type=float, default=0.1, help="learning rate of MPT-1/1")
    parser.add_argument("--dense_rate", type=float, default=0.01, help="learning rate of the dense network")
    parser.add_argument("--scale_fan", default="density", choices=["off", "density", "sparsity"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0 for all cores")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark_multiprize"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/multiprize_conv2_cifar10.csv"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/multiprize.png"))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, prints the table, draws the figure."""
    args = make_parser().parse_args(arguments)
    if args.threads:
        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    rows = read(args.out)
    done = {(row["kind"], float(row["asked_density"])) for row in rows}
    if missing := [entry for entry in entries(args.density) if entry not in done]:
        data = load_data(args.dataset, args.data_path)
        for kind, density in missing:
            append(args.out, measure(kind, density, data, args))
    rows = read(args.out)
    print(table(rows))
    plot(rows, args.figure, _title(args))


if __name__ == "__main__":
    main()
