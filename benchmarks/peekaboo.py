"""Accuracy after pruning at initialisation, by criterion and density, and of Peek-a-Boo: one table and one figure.

    python benchmarks/peekaboo.py --data_path DIR

Every row is a run of `train_cifar.py --method peekaboo`, all with the same seed and the same budget: so many epochs of
a part of the training images. Runs that were done are not repeated, one that was stopped goes on.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from program import new_parser

from tfprune.files import as_file, make_folder
from tfprune.recipes import peekaboo

CRITERIA = ("random", "Mag", "SNIP", "GraSP", "GraSP-peekaboo", "SynFlow")
DENSITIES = (0.3, 0.03)


@dataclass(frozen=True)
class Entry:
    """One row: how the network is pruned (`GraSP-peekaboo`: GraSP in that variant), and how the rest is trained."""

    pruner: str
    density: float
    training: str

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.pruner.lower()}-{self.density:g}-{self.training.lower().replace('+', '-')}"

    def options(self, synflow_rounds: int) -> dict[str, Any]:
        """Returns the settings that set this row apart."""
        iterations = synflow_rounds if self.pruner == "SynFlow" else 1
        pruner, _, variant = self.pruner.partition("-")
        options: dict[str, Any] = {"pruner": pruner, "density": self.density, "prune_iters": iterations}
        if variant:
            options["grasp_variant"] = variant
        if self.training == "SGD":
            return options | {"optimizer": "SGD"}
        if self.training == "Bop+PSG":
            options |= {"psg": True, "psg_relative_threshold": 1e-7, "psg_sparsify": True, "psg_take_sign": False}
        return options


def entries() -> list[Entry]:
    """The rows, in the order in which they are run."""
    rows = [Entry("none", 1.0, "SGD")]
    for density in DENSITIES:
        rows += [Entry(pruner, density, "SGD") for pruner in CRITERIA]
        rows += [Entry("SynFlow", density, training) for training in ("Bop", "Bop+PSG")]
    return rows


def measure(entry: Entry, args: argparse.Namespace) -> dict[str, Any]:
    """A run, and the row it gives."""
    config = peekaboo.PeekabooConfig(
        train_path=str(args.runs / entry.name),
        resume=True,
        data_path=args.data_path,
        dataset=args.dataset,
        arch=args.arch,
        fraction=args.fraction,
        epochs=args.epochs,
        milestones=(max(1, args.epochs // 2), max(2, args.epochs * 3 // 4)),
        ar_decay_freq=max(1, args.epochs // 4),
        seed=args.seed,
        export=False,
        **entry.options(args.synflow_rounds),
    )
    numbers = peekaboo.run(config).numbers
    kept = {
        key: numbers[key]
        for key in ("accuracy", "loss", "density", "collapsed_layers", "pruning_seconds")
        if key in numbers
    }
    return {"pruner": entry.pruner, "asked_density": entry.density, "training": entry.training, **kept}


def show(rows: list[dict[str, Any]]) -> None:
    """Prints the table in Markdown: criteria and trainings by density."""
    print("| pruning | training | " + " | ".join(f"density {density:g}" for density in (1.0, *DENSITIES)) + " |")
    print("|---" * (3 + len(DENSITIES)) + "|")
    for pruner, training in dict.fromkeys((row["pruner"], row["training"]) for row in rows):
        cells = {r["asked_density"]: r for r in rows if (r["pruner"], r["training"]) == (pruner, training)}
        texts = [f"{cells[d]['accuracy']:.2%}" if d in cells else "" for d in (1.0, *DENSITIES)]
        print(f"| {pruner} | {training} | {' | '.join(texts)} |")


def plot(rows: list[dict[str, Any]], file: Path) -> None:
    """Draws accuracy against density."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for pruner, training in dict.fromkeys((row["pruner"], row["training"]) for row in rows):
        mine = [row for row in rows if (row["pruner"], row["training"]) == (pruner, training)]
        accuracies = [100 * row["accuracy"] for row in mine]
        if pruner == "none":
            axes.axhline(accuracies[0], color="black", linestyle=":", label="whole network, SGD")
            continue
        style = "o-" if training == "SGD" else "s--"
        axes.plot([row["asked_density"] for row in mine], accuracies, style, label=f"{pruner}, {training}")
    axes.set(xscale="log", xlabel="density (fraction of weights kept)", ylabel="accuracy on test images, %")
    figure.legend(loc="outside right", fontsize="small")
    figure.savefig(file, dpi=150)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_path")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--arch", default="ResNet-20")
    parser.add_argument("--fraction", type=float, default=0.2, help="of the training images")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--synflow_rounds", type=int, default=100)
    parser.add_argument("--rows", nargs="+", choices=[entry.name for entry in entries()], help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark_peekaboo"))
    parser.add_argument("--out", type=as_file, default=Path("benchmarks/results/peekaboo_resnet20_cifar10.jsonl"))
    parser.add_argument("--figure", type=Path, default=Path("docs/peekaboo.png"))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, prints the table, draws the figure."""
    args = make_parser().parse_args(arguments)
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(row["pruner"], row["asked_density"], row["training"]) for row in rows}
    for entry in entries():
        if args.rows and entry.name not in args.rows:
            continue
        if (entry.pruner, entry.density, entry.training) not in done:
            rows.append(measure(entry, args))
            make_folder(args.out.parent)
            with args.out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)
    plot(rows, args.figure)


if __name__ == "__main__":
    main()
