"""Accuracy over FLOPs and over the cost of the search: EKG's interim sub-networks beside criteria for channels.

    python benchmarks/ekg_rates.py --data_path DIR --trained_param res56_cifar10.pkl

All start from the trained model after a short pass, as in landscape_study.py. One search to the lowest rate passes
through all others: its first sub-network at or below each rate is taken, with the CPU seconds spent so far. Criteria
prune in one round, or in several. Then all get the same short pass over the same images. A row that is there is not
measured again. Without `--trained_param`, only the table and the figure are made.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from criteria import scoring_data, tested
from landscape_study import Study, append, rows_of, study_parser
from matplotlib.figure import Figure
from pages import DOCS, rewrite
from program import use_threads

from tfprune.criteria import get
from tfprune.files import write_text
from tfprune.pruning import prune_channels
from tfprune.recipes.data import search_subsets
from tfprune.search.greedy import Search

RESULTS = Path(__file__).parent / "results" / "ekg_rates.csv"
ROUNDS = {"taylor": ("taylor", 1), "l2": ("l2", 1), "l2 in 10 rounds": ("l2", 10)}
EKG = "EKG's search"


def search(study: Study, rates: Sequence[float]) -> dict[str, float]:
    """Stores the interim sub-networks, and returns the CPU seconds to each by its rate."""
    file = study.args.work / "ekg_seconds.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    data = study.training
    positions = search_subsets(data).validation
    images, labels = data.normalize(data.train_images[positions]), data.train_labels[positions]
    started, waiting, seconds = time.process_time(), sorted(rates), dict[str, float]()
    run = Search(study.whole, images, labels, target=waiting[0], dtype="bfloat16")
    for state, _ in run.run():
        while waiting and state.flops <= waiting[-1] * run.full_flops:
            rate = waiting.pop()
            seconds[str(rate)] = round(time.process_time() - started, 1)
            run.result(state).slim().save(study.args.work / f"ekg_{rate}.keras")
    write_text(file, json.dumps(seconds))
    return seconds


def found(study: Study, method: str, rate: float) -> tuple[keras.Model, float]:
    """The sub-network of a method at a rate, and the CPU seconds that it took to choose it."""
    if method == EKG:
        seconds = search(study, study.args.rates)
        return keras.saving.load_model(study.args.work / f"ekg_{rate}.keras"), seconds[str(rate)]
    name, rounds = ROUNDS[method]
    model, started = study.whole, time.process_time()
    data = scoring_data(study.training, 10) if get(name).uses_data != "never" else None
    small = prune_channels(model, name, flops=rate, data=data, steps=rounds)
    return small, round(time.process_time() - started, 1)


def measure(args: argparse.Namespace) -> None:
    """Appends the rows that are missing."""
    done = {(row["method"], float(row["rate"])) for row in rows_of(args.out)}
    study = Study(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for rate in args.rates:
        for method in (EKG, *ROUNDS):
            if (method, rate) in done:
                continue
            model, seconds = found(study, method, rate)
            study.recalibrate(model)
            row = {"method": method, "rate": rate, "search_cpu_s": seconds, "before": tested(model, study.data)}
            append(args.out, row | study.trained(model, args.seed))


def measured(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a file, from the highest rate to the lowest."""
    return sorted(rows_of(path), key=lambda row: -float(row["rate"]))


def table(rows: Sequence[dict[str, str]]) -> str:
    """Returns the table of the page."""
    titles = ("method", "FLOPs at most", "parameters", "CPU s to choose", "before training", "after")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for row in rows:
        before, after = (f"{float(row[name]):.2%}" for name in ("before", "test_accuracy"))
        sizes = f"{float(row['rate']):.0%} | {int(row['params']):,}"
        lines.append(f"| {row['method']} | {sizes} | {float(row['search_cpu_s']):.0f} | {before} | {after} |")
    return "\n".join(lines)


def plot(rows: Sequence[dict[str, str]], file: Path) -> None:
    """Draws the accuracies over FLOPs, and over the cost of the search."""
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, 2, sharey=True)
    columns: tuple[tuple[str, Callable[[dict[str, str]], float]], ...] = (
        ("multiply-adds, millions", lambda row: float(row["flops"]) / 1e6),
        ("CPU seconds to choose the channels", lambda row: float(row["search_cpu_s"])),
    )
    for axes, (label, value) in zip(panels, columns, strict=True):
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if row["method"] == method]
            accuracies = [100 * float(row["test_accuracy"]) for row in mine]
            axes.plot([value(row) for row in mine], accuracies, "o-", markersize=4, label=method)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[1].set_xscale("log")
    panels[0].set_ylabel("test accuracy after a short pass, %")
    panels[0].legend(fontsize=8)
    figure.savefig(file)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = study_parser(__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=(0.85, 0.7, 0.55, 0.45, 0.35))
    parser.add_argument("--seed", type=int, default=1, help="of the short passes")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=DOCS / "figures" / "ekg_rates.png")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what is not measured yet, writes the table into the page, and draws the figure."""
    args = make_parser().parse_args(arguments)
    use_threads(1)
    if args.trained_param:
        measure(args)
    rows = measured(args.out)
    print(table(rows))
    rewrite(args.page, "ekg_rates.py", table(rows))
    plot(rows, args.figure)


if __name__ == "__main__":
    main()
