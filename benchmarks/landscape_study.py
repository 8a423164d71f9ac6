"""Loss landscape and validation loss of sub-networks of equal FLOPs, against their accuracy after fine-tuning.

    python benchmarks/landscape_study.py --data_path DIR --trained_param res56_cifar10.pkl

The model is first trained for a short pass, since it may not have seen such images. Then it is pruned to the same FLOPs
by several criteria, by their scores with noise, and at random. Each sub-network is measured with batch norm averages
taken again (`before.csv`), and on the test images after the same short pass over the same images (`after.csv`). A row
that is there is not measured again. In the end the tables are written into the page and a figure is drawn; without
`--trained_param` that is all.
"""

import argparse
import csv
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from criteria import one_epoch, scoring_data, tested
from pages import DOCS, rewrite
from program import new_parser, use_threads
from rank_correlations import markdown, plot

from tfprune.criteria import Random, criterion, get
from tfprune.graph import complexity, convert
from tfprune.landscape import curvature, section
from tfprune.pruning.budget import Budget
from tfprune.pruning.planner import Planner
from tfprune.pruning.recalibration import recalibrate_batch_norm
from tfprune.recipes.data import data_fraction, fixed_batches, load_data
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.training import evaluate

MEASURES = {
    "validation_loss": "validation loss",
    "fluctuation": "fluctuation of sections",
    "ratio": "abs(smallest / largest eigenvalue)",
}
PAGE, RESULTS = DOCS / "results_landscape.md", Path(__file__).parent / "results" / "landscape_study"
OUTCOME = ("accuracy", "test accuracy after a short pass, %")
CORRELATIONS = """Rank correlations with the accuracy after the short pass; in brackets the middle 95 % of 2,000
bootstrap draws of sub-networks:"""
Row = dict[str, Any]


class Choice(NamedTuple):
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
    def label(self) -> str:
        """Of the page."""
        where = {"global": "whole model", "local": "each group"}[self.scope]
        chance = [f"noise {self.noise:g}"] if self.noise else []
        return ", ".join([f"`{self.criterion}`", where, *chance, *([f"seed {self.seed}"] if self.seed else [])])


def disturbed(seed: int) -> tuple[Choice, ...]:
    """The choices that depend on a seed."""
    noisy = (Choice(name, "global", noise, seed) for noise in (0.5, 1.0) for name in ("taylor", "l2"))
    return (Choice("random", "global", seed=seed), *noisy, Choice("random", "local", seed=seed))


CHOICES = (
    *(Choice(name, scope) for name in ("taylor", "l2") for scope in ("global", "local")),
    Choice("ekg", "global"),
    *disturbed(1),
    *(Choice(name, "global") for name in ("fpgm", "l1", "bn_scale")),
    *disturbed(2),
    *disturbed(3),
)


class Study:
    """The images, and the models, which are stored in a folder.

    Args:
        args: Of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        args.work.mkdir(parents=True, exist_ok=True)
        self.data = load_data(args.dataset, args.data_path)
        images, labels = self.data.train_images, self.data.train_labels
        self.training = replace(self.data, train_images=images[: -args.held_out], train_labels=labels[: -args.held_out])
        self.validation = fixed_batches(images[-args.held_out :], labels[-args.held_out :], self.data, 500)
        self._scores: dict[str, np.ndarray] = {}

    def first(self, images: int, batch_size: int) -> tf.data.Dataset:
        """The first training images, without augmentation."""
        some = self.training.train_images[:images], self.training.train_labels[:images]
        return fixed_batches(*some, self.data, batch_size)

    def short_pass(self, model: keras.Model, seed: int) -> keras.Model:
        """The network after one pass over a part of the training images, the same for all networks."""
        args = self.args
        part = data_fraction(self.training, args.fraction)
        return one_epoch(model, part, seed, rate=args.rate, batch=args.batch_size, dtype=args.precision)

    @cached_property
    def whole(self) -> keras.Model:
        """The trained model after a short pass."""
        path = self.args.work / "whole.keras"
        if path.exists():
            return keras.saving.load_model(path)
        shape = {"num_classes": self.data.num_classes, "input_shape": self.data.input_shape}
        model = load_checkpoint(self.args.trained_param, arch=self.args.arch, **shape)
        model = convert(self.short_pass(model, 0), "plain", dtype="float32")
        model.save(path)
        print(f"whole network: {tested(model, self.data):.2%}", flush=True)
        return model

    @cached_property
    def planners(self) -> dict[str, Planner]:
        """By scope, they make plans for the whole network."""
        budget = Budget("flops", self.args.flops)
        return {scope: Planner(self.whole, budget, scope=scope) for scope in ("global", "local")}

    def scores(self, choice: Choice) -> np.ndarray:
        """The scores of a choice, `[channels]`."""
        groups = self.planners[choice.scope].groups
        if choice.criterion == "random":
            return Random(choice.seed).scores(self.whole, groups)
        if choice.criterion not in self._scores:
            data = scoring_data(self.training, 10) if get(choice.criterion).uses_data != "never" else None
            self._scores[choice.criterion] = criterion(choice.criterion).scores(self.whole, groups, data)
        scores = self._scores[choice.criterion]
        return scores * np.exp(choice.noise * np.random.default_rng(choice.seed).standard_normal(len(scores)))

    def recalibrate(self, model: keras.Model) -> None:
        """Takes batch norm averages again."""
        recalibrate_batch_norm(model, self.first(5000, 500))

    def subnetwork(self, choice: Choice) -> keras.Model:
        """The pruned model with batch norm averages taken again, not trained further."""
        path = self.args.work / f"{choice.name}.keras"
        if path.exists():
            return keras.saving.load_model(path)
        model = self.planners[choice.scope].plan(self.scores(choice), choice.criterion).apply()
        self.recalibrate(model)
        model.save(path)
        return model

    def before(self, choice: Choice) -> Row:
        """A row of `before.csv`."""
        args, started = self.args, time.process_time()
        model = self.subnetwork(choice)
        cost, found = complexity(model), evaluate(model, self.validation)
        flat = section(
            model,
            self.first(args.section_images, args.section_images),
            directions=args.directions,
            points=args.points,
            radius=args.radius,
            progress=False,
        )
        images = self.first(args.curvature_images, args.curvature_images)
        bent = curvature(model, images, tolerance=args.tolerance, progress=False)
        return {
            "name": choice.name,
            "flops": cost.flops,
            "params": cost.params,
            "validation_loss": found.loss,
            "validation_accuracy": found.top1,
            "fluctuation": flat.fluctuation,
            "fluctuation_error": flat.standard_error,
            "smallest": bent.smallest,
            "largest": bent.largest,
            "ratio": bent.ratio,
            "products": bent.products,
            "cpu_s": round(time.process_time() - started, 1),
        }

    def after(self, choice: Choice, seed: int) -> Row:
        """A row of `after.csv`."""
        return {"name": choice.name, "train_seed": seed} | self.trained(self.subnetwork(choice), seed)

    def trained(self, model: keras.Model, seed: int) -> Row:
        """The accuracy of a model after a short pass."""
        started, cost = time.process_time(), complexity(model)
        accuracy = tested(self.short_pass(model, seed), self.data)
        row: Row = {"flops": cost.flops, "params": cost.params, "test_accuracy": accuracy}
        return row | {"cpu_s": round(time.process_time() - started, 1)}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path: Path, row: Row) -> None:
    """Adds a row to a table, after its head where it is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def measure(args: argparse.Namespace) -> None:
    """Appends the rows that are missing, one sub-network after the other."""
    args.out.mkdir(parents=True, exist_ok=True)
    before, after = args.out / "before.csv", args.out / "after.csv"
    known = {row["name"] for row in rows_of(before)}
    trained = {(row["name"], int(row["train_seed"])) for row in rows_of(after)}
    study = Study(args)
    for choice in CHOICES[: args.subnetworks]:
        for seed in args.seeds:
            if (choice.name, seed) not in trained:
                append(after, study.after(choice, seed))
        if choice.name not in known:
            append(before, study.before(choice))


def joined(folder: Path) -> dict[str, np.ndarray]:
    """The measures and the mean accuracy over the seeds, in %, of the sub-networks that are in both tables."""
    accuracies: dict[str, list[float]] = {}
    for row in rows_of(folder / "after.csv"):
        accuracies.setdefault(row["name"], []).append(100 * float(row["test_accuracy"]))
    rows = [row for row in rows_of(folder / "before.csv") if row["name"] in accuracies]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in MEASURES}
    names = [row["name"] for row in rows]
    return columns | {"name": np.array(names), OUTCOME[0]: np.array([np.mean(accuracies[name]) for name in names])}


def tables(folder: Path) -> str:
    """Returns the part of the page: the sub-networks, the most accurate first, and the rank correlations."""
    table = joined(folder)
    before = {row["name"]: row for row in rows_of(folder / "before.csv")}
    labels = {choice.name: choice.label for choice in CHOICES}
    lines = ["| channels chosen by | parameters | validation loss | fluctuation | condition measure | accuracy after |"]
    lines.append("|---" * 6 + "|")
    for place in np.argsort(-table["accuracy"], kind="stable"):
        row = before[table["name"][place]]
        value = {name: float(row[name]) for name in (*MEASURES, "fluctuation_error")}
        cells = [labels[row["name"]], f"{int(row['params']):,}", f"{value['validation_loss']:.3f}"]
        cells += [f"{value['fluctuation']:.3f} ± {value['fluctuation_error']:.3f}", f"{value['ratio']:.3f}"]
        lines.append(f"| {' | '.join(cells)} | {table['accuracy'][place]:.2f} % |")
    correlations = markdown(table, MEASURES, OUTCOME[0], "validation_loss")
    return f"{len(before)} sub-networks:\n\n" + "\n".join(lines) + f"\n\n{CORRELATIONS}\n\n{correlations}"


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser of what a `Study` needs."""
    parser = new_parser(description)
    parser.add_argument("--arch", default="ResNet-56")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--data_path")
    parser.add_argument("--trained_param", help="the trained model; default: only write what was measured")
    parser.add_argument("--fraction", type=float, default=10240 / 45000, help="of the training images in a short pass")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.005, help="learning rate at the beginning of a short pass")
    parser.add_argument("--precision", default="mixed_bfloat16", help="of the training")
    parser.add_argument("--held_out", type=int, default=5000, help="training images kept for validation, the last ones")
    parser.add_argument("--work", type=Path, default=Path("runs/landscape_study"), help="folder of the models")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables are written to")
    return parser


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = study_parser(__doc__)
    parser.add_argument("--flops", type=float, default=0.45)
    parser.add_argument("--seeds", type=int, nargs="+", default=(1,), help="of the short passes")
    parser.add_argument("--subnetworks", type=int, default=len(CHOICES), help="only the first so many")
    parser.add_argument("--section_images", type=int, default=128, help="the first training images, one batch")
    parser.add_argument("--directions", type=int, default=5)
    parser.add_argument("--points", type=int, default=7)
    parser.add_argument("--radius", type=float, default=0.5)
    parser.add_argument("--curvature_images", type=int, default=64, help="the first training images, one batch")
    parser.add_argument("--tolerance", type=float, default=0.05, help="of the eigenvalues")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=DOCS / "figures" / "landscape_study.png")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, prints the correlations, and draws the figure."""
    args = make_parser().parse_args(arguments)
    use_threads(1)
    if args.trained_param:
        measure(args)
    print(tables(args.out))
    rewrite(args.page, "landscape_study.py", tables(args.out))
    table = joined(args.out)
    plot(table, MEASURES, OUTCOME, np.array([name.rsplit("_", 3)[0] for name in table["name"]]), args.figure)


if __name__ == "__main__":
    main()
