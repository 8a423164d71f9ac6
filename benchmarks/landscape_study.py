"""Loss landscape and validation loss of many sub-networks of equal FLOPs, against their accuracy after fine-tuning.

    python benchmarks/landscape_study.py --data_path DIR --trained_param res56_cifar10.pkl

The model is first trained for a short pass, then pruned to the same FLOPs by several criteria, by their scores with
noise, and at random. Each sub-network is measured with batch norm averages taken anew (`before.csv`), and its accuracy
on the test images after the same short pass over the same images (`after.csv`). A row that is there is not measured
again. Then rank correlations with bootstrap intervals are printed, and a figure is drawn.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from criteria import one_epoch, scoring_data, tested
from matplotlib.figure import Figure
from program import new_parser, use_threads
from scipy import stats

from tfprune.criteria import Random, criterion, get
from tfprune.graph import complexity, convert
from tfprune.landscape import curvature, section
from tfprune.pruning import plan_channels
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import ImageData, data_fraction, fixed_batches, load_data
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.training import evaluate

CRITERIA = ("taylor", "l2", "ekg", "fpgm", "l1", "bn_scale")
MEASURES = {
    "validation_loss": "validation loss",
    "fluctuation": "fluctuation of sections",
    "ratio": "|smallest / largest eigenvalue|",
}
METHODS = ("Spearman", "Kendall")
DRAWS = 2000
Row = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """How the channels of a sub-network are chosen.

    Attributes:
        criterion: Name of the criterion.
        scope: Whether channels are compared over the whole model or within each group.
        noise: Standard deviation of the noise that is added to the logarithms of the scores.
        seed: Of the noise, or of random scores.
    """

    criterion: str
    scope: str
    noise: float = 0.0
    seed: int = 0

    @property
    def name(self) -> str:
        """Of files and rows."""
        return f"{self.criterion}_{self.scope}_{self.noise:g}_{self.seed}"

    @property
    def uses_data(self) -> str:
        """As the criterion does."""
        return get(self.criterion).uses_data

    def scores(self, model: keras.Model, groups: Any, data: Any = None) -> np.ndarray:
        """Returns the criterion's scores `[channels]` times log-normal noise."""
        if self.criterion == "random":
            return Random(self.seed).scores(model, groups)
        scores = criterion(self.criterion).scores(model, groups, data)
        return scores * np.exp(self.noise * np.random.default_rng(self.seed).standard_normal(len(scores)))


CHOICES = (
    *(Choice(name, scope) for name in CRITERIA for scope in ("global", "local")),
    *(Choice(name, "global", noise, seed) for noise in (0.5, 1.0) for name in ("taylor", "l2") for seed in (1, 2)),
    *(Choice("random", scope, seed=seed) for seed in (1, 2) for scope in ("global", "local")),
)


@dataclass(frozen=True)
class Study:
    """The images, and the folder of the models.

    Attributes:
        data: The data set; its last training images are held out.
        held_out: How many.
        args: Of the command line.
    """

    data: ImageData
    held_out: int
    args: argparse.Namespace

    @property
    def training(self) -> ImageData:
        """The data set with the training images that are not held out."""
        images, labels = self.data.train_images, self.data.train_labels
        return replace(self.data, train_images=images[: -self.held_out], train_labels=labels[: -self.held_out])

    def batches(self, images: int) -> Any:
        """The first images that are held out, without augmentation."""
        held = slice(-self.held_out, None)
        pixels, labels = self.data.train_images[held], self.data.train_labels[held]
        return fixed_batches(pixels[:images], labels[:images], self.data, min(500, images))

    def short_pass(self, model: keras.Model, seed: int) -> keras.Model:
        """The network after one pass over a part of the training images, the same for all networks."""
        part = data_fraction(self.training, self.args.fraction)
        args = self.args
        return one_epoch(model, part, seed, rate=args.rate, batch=args.batch_size, dtype=args.precision)

    def stored(self, name: str, make: Callable[[], keras.Model]) -> keras.Model:
        """The model of a file, which is made where it is missing."""
        path = self.args.work / f"{name}.keras"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            make().save(path)
        return keras.saving.load_model(path)

    def whole(self) -> keras.Model:
        """The trained model after a short pass over these images, on which it may not have been trained."""
        shape = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        return self.stored(
            "whole",
            lambda: convert(
                self.short_pass(load_checkpoint(self.args.trained_param, arch=self.args.arch, **shape), 0),
                "plain",
                dtype="float32",
            ),
        )

    def subnetwork(self, choice: Choice) -> keras.Model:
        """The pruned model with batch norm averages taken anew, not trained further."""

        def make() -> keras.Model:
            examples = scoring_data(self.training, 10) if choice.uses_data != "never" else None
            model = self.whole()
            small = plan_channels(model, choice, flops=self.args.flops, data=examples, scope=choice.scope).apply()
            images = self.training.train_images[:5000], self.training.train_labels[:5000]
            recalibrate_batch_norm(small, fixed_batches(*images, self.data, 500))
            return small

        return self.stored(choice.name, make)


def before(study: Study, choice: Choice) -> Row:
    """A row of `before.csv`."""
    model = study.subnetwork(choice)
    cost = complexity(model)
    started = time.process_time()
    held_out = evaluate(model, study.batches(study.held_out))
    row: Row = {"flops": cost.flops, "params": cost.params}
    row |= {"validation_loss": held_out.loss, "validation_accuracy": held_out.top1}
    args = study.args
    images = args.landscape_images
    some = study.data.train_images[:images], study.data.train_labels[:images]
    batches = fixed_batches(*some, study.data, min(128, images))
    flat = section(model, batches, directions=args.directions, points=args.points, radius=args.radius, progress=False)
    row |= {"fluctuation": flat.fluctuation, "fluctuation_error": flat.standard_error}
    bent = curvature(model, batches, tolerance=args.tolerance, progress=False)
    row |= {"smallest": bent.smallest, "largest": bent.largest, "ratio": bent.ratio, "products": bent.products}
    return row | {"cpu_s": round(time.process_time() - started, 1)}


def after(study: Study, choice: Choice, seed: int) -> Row:
    """A row of `after.csv`."""
    model = study.subnetwork(choice)
    cost = complexity(model)
    started = time.process_time()
    accuracy = tested(study.short_pass(model, seed), study.data)
    sizes = {"flops": cost.flops, "params": cost.params}
    return sizes | {"test_accuracy": accuracy, "cpu_s": round(time.process_time() - started, 1)}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Row) -> None:
    """Adds a row to a table, and its head where it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def measure(study: Study, choices: Sequence[Choice]) -> None:
    """Appends the rows that are missing."""
    args = study.args
    known = {row["name"] for row in rows_of(args.out / "before.csv")}
    for choice in choices:
        if choice.name not in known:
            append(args.out / "before.csv", {"name": choice.name} | before(study, choice))
    for seed in args.seeds:
        done = {(row["name"], int(row["train_seed"])) for row in rows_of(args.out / "after.csv")}
        for choice in choices:
            if (choice.name, seed) not in done:
                row = {"name": choice.name, "train_seed": seed} | after(study, choice, seed)
                append(args.out / "after.csv", row)


def correlation(method: str, measures: np.ndarray, accuracies: np.ndarray) -> float:
    """Spearman's or Kendall's rank correlation, `tau-b`."""
    return float({"Spearman": stats.spearmanr, "Kendall": stats.kendalltau}[method](measures, accuracies).statistic)


def interval(statistic: Callable[[np.ndarray], float], count: int) -> tuple[float, float]:
    """The middle 95 % of a statistic of rows, over draws of as many rows with replacement."""
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, count, count) for _ in range(DRAWS))
    low, high = np.nanpercentile([statistic(draw) for draw in draws if len(set(draw)) > 2], (2.5, 97.5))
    return float(low), float(high)


def joined(folder: Path) -> dict[str, np.ndarray]:
    """The measures, and the mean accuracy over the seeds, of the sub-networks that are in both tables."""
    accuracies: dict[str, list[float]] = {}
    for row in rows_of(folder / "after.csv"):
        accuracies.setdefault(row["name"], []).append(float(row["test_accuracy"]))
    rows = [row for row in rows_of(folder / "before.csv") if row["name"] in accuracies]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in MEASURES}
    names = np.array([row["name"] for row in rows])
    return columns | {"name": names, "accuracy": np.array([np.mean(accuracies[name]) for name in names])}


def show(table: dict[str, np.ndarray]) -> None:
    """Prints the correlations in Markdown."""
    titles = ("measure before fine-tuning", *METHODS, "Spearman's, less that of the validation loss")
    print(f"{len(table['name'])} sub-networks\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    accuracy = table["accuracy"]
    for name, title in MEASURES.items():
        cells = []
        for method in METHODS:
            ends = interval(
                lambda rows, m=method, v=table[name]: correlation(m, v[rows], accuracy[rows]), len(accuracy)
            )
            cells.append(_cell(correlation(method, table[name], accuracy), *ends))

        def gap(rows: np.ndarray, values: np.ndarray = table[name]) -> float:
            both = (values, table["validation_loss"])
            return float(np.subtract(*(correlation("Spearman", each[rows], accuracy[rows]) for each in both)))

        every = np.arange(len(accuracy))
        cells.append("" if name == "validation_loss" else _cell(gap(every), *interval(gap, len(accuracy))))
        print(f"| {title} | {' | '.join(cells)} |")


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"


def plot(table: dict[str, np.ndarray], file: Path) -> None:
    """Draws the accuracies over each measure."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    kinds = np.array([name.split("_")[0] for name in table["name"]])
    for axes, (name, title) in zip(panels, MEASURES.items(), strict=True):
        for kind in dict.fromkeys(kinds):
            mine = kinds == kind
            axes.plot(table[name][mine], 100 * table["accuracy"][mine], "o", markersize=4, label=kind)
        axes.set(xlabel=title, xscale="log")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy on test images\nafter a short fine-tuning, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(file)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--arch", default="ResNet-56")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--data_path")
    parser.add_argument("--trained_param", required=True)
    parser.add_argument("--flops", type=float, default=0.45)
    parser.add_argument("--fraction", type=float, default=10240 / 45000, help="of the training images in a short pass")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.005, help="learning rate at the beginning of a short pass")
    parser.add_argument("--precision", default="mixed_bfloat16", help="of the training")
    parser.add_argument("--held_out", type=int, default=5000, help="training images kept for validation")
    parser.add_argument("--seeds", type=int, nargs="+", default=(1,), help="of the short passes")
    parser.add_argument("--subnetworks", type=int, default=len(CHOICES), help="only so many of the list")
    parser.add_argument("--landscape_images", type=int, default=256, help="the first training images")
    parser.add_argument("--directions", type=int, default=5)
    parser.add_argument("--points", type=int, default=11)
    parser.add_argument("--radius", type=float, default=0.5)
    parser.add_argument("--tolerance", type=float, default=0.05, help="of the eigenvalues")
    parser.add_argument("--work", type=Path, default=Path("runs/landscape_study"), help="folder of the models")
    parser.add_argument("--out", type=Path, default=Path("runs/landscape_study"), help="folder of the tables")
    parser.add_argument("--figure", type=Path, default=Path("runs/landscape_study/study.png"))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, prints the correlations, and draws the figure."""
    args = make_parser().parse_args(arguments)
    use_threads(1)
    study = Study(load_data(args.dataset, args.data_path), args.held_out, args)
    print(f"whole network: {tested(study.whole(), study.data):.2%}", flush=True)
    measure(study, CHOICES[: args.subnetworks])
    table = joined(args.out)
    show(table)
    plot(table, args.figure)


if __name__ == "__main__":
    main()
