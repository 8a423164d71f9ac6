"""Trains what the papers publish for CIFAR-10, at a budget that fits the machine, and compares the accuracies.

    python benchmarks/published.py --data_path DIR
    python benchmarks/published.py --data_path DIR --published --only multiprize-resnet18
    python benchmarks/published.py --table

Every row is a run of `train_cifar.py`, with the published settings and a shorter schedule, mostly of a smaller network;
`--published` trains the authors' network for their number of epochs. Runs that were done are not repeated, one that was
stopped goes on where it stopped. `--table` writes docs/results_published.md without any run.
"""

import argparse
import csv
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pages import DOCS, rewrite
from program import new_parser, use_threads

from tfprune.cli.programs import train_cifar
from tfprune.files import as_file, make_folder

ROOT = Path(__file__).resolve().parents[1]
PAGE = DOCS / "results_published.md"
RESULTS = ROOT / "benchmarks" / "results"
EDGES = {83: 2.403, 166: 1.231, 250: 0.591, 333: 0.240, 417: 0.071}
NODES = {1: 3.737, 2: 2.310, 3: 1.438, 4: 0.740, 5: 0.258}

Row = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """What a paper trains, and how much of it is trained here.

    Attributes:
        method: Shown in the table.
        flags: Settings that do not depend on the budget.
        published_arch: The authors' network.
        published_epochs: The authors' epochs.
        arch: The network here.
        epochs: The epochs here.
        schedule: Flags whose values count epochs: the authors' values, scaled to the epochs here.
        accuracy: Published, as it is written there; empty where no source with a number was at hand.
        source: Of that accuracy.
        seeds: Runs of this experiment.
    """

    method: str
    flags: str
    published_arch: str
    published_epochs: int
    arch: str
    epochs: int
    schedule: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    accuracy: str = ""
    source: str = ""
    seeds: int = 1


_TICKET_STEPS = {"--milestones": (80, 120)}
EXPERIMENTS = {
    "ekg": Experiment(
        "EKG, 45 % of the FLOPs, from the authors' pretrained model",
        "--config configs/ekg/resnet56_cifar10.yaml",
        "ResNet-56",
        100,
        "ResNet-56",
        14,
        {"--train_epoch": (100,)},
        "94.09 ± .07 (model before: 93.84)",
        "authors' poster, which does not name the rate",
    ),
    "peekaboo": Experiment(
        "Peek-a-Boo: SynFlow 30 %, signs by Bop, PSG",
        "--config configs/peekaboo/cifar10_resnet18.yaml",
        "ResNet-18",
        180,
        "ResNet-20",
        8,
        {"--epochs": (180,), "--ar_decay_freq": (45,), "--milestones": (80, 120)},
    ),
    "peekaboo-sgd": Experiment(
        "the same masks, weights by SGD",
        "--method peekaboo --init_method kaiming_normal --optimizer SGD",
        "ResNet-18",
        180,
        "ResNet-20",
        8,
        {"--epochs": (180,), "--milestones": (80, 120)},
    ),
    "dense": Experiment(
        "Dense counterpart of the tickets",
        "--config configs/tickets/resnet32_cifar10_dense.yaml",
        "ResNet-32x2",
        160,
        "ResNet-20",
        6,
        {"--epochs": (160,), **_TICKET_STEPS},
        seeds=3,
    ),
    "smart-ratio": Experiment(
        "Random ticket, smart ratios, 10 % of the weights",
        "--config configs/tickets/resnet32_cifar10_smart_ratio.yaml --density 0.1",
        "ResNet-32x2",
        160,
        "ResNet-20",
        6,
        {"--epochs": (160,), **_TICKET_STEPS},
        seeds=3,
    ),
    "multiprize-conv4": Experiment(
        "MPT-1/32, 50 % of the weights",
        "--config configs/multiprize/conv4_kn.yaml --density 0.5",
        "Conv4",
        250,
        "Conv4",
        4,
        {"--epochs": (250,)},
    ),
    "multiprize-conv4-binary": Experiment(
        "MPT-1/1, 50 % of the weights",
        "--config configs/multiprize/conv4_binact_kn.yaml --density 0.5",
        "Conv4",
        250,
        "Conv4",
        4,
        {"--epochs": (250,)},
    ),
    "multiprize-resnet18": Experiment(
        "MPT-1/32, 20 % of the weights",
        "--config configs/multiprize/resnet18_kn.yaml --density 0.2",
        "ResNet-18",
        100,
        "ResNet-18",
        2,
        {"--epochs": (100,)},
        "94.66",
        "authors' README",
    ),
}


def scaled(experiment: Experiment, epochs: int) -> list[str]:
    """Returns the flags of the schedule for so many epochs: published values in proportion, an epoch apart at least."""
    words = []
    for flag, values in experiment.schedule.items():
        words.append(flag)
        last = 0
        for value in values:
            last = max(last + 1, round(value * epochs / experiment.published_epochs))
            words.append(str(last))
    return words


def size(experiment: Experiment, args: argparse.Namespace) -> tuple[str, int]:
    """Returns the network and the epochs of a run."""
    arch, epochs = experiment.arch, experiment.epochs
    if args.published:
        arch, epochs = experiment.published_arch, experiment.published_epochs
    return args.arch or arch, args.epochs or epochs


def command(name: str, seed: int, args: argparse.Namespace) -> list[str]:
    """Returns the words after `train_cifar.py` for a run."""
    experiment = EXPERIMENTS[name]
    arch, epochs = size(experiment, args)
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in experiment.flags.split()]
    words += ["--arch", arch, *scaled(experiment, epochs), "--seed", str(seed), "--precision", args.precision]
    words += ["--dataset", args.dataset, "--train_path", str(folder(name, seed, args)), "--resume", "--no_export"]
    words += ["--data_path", args.data_path] if args.data_path else []
    return words + (["--trained_param", args.trained_param] if name == "ekg" else [])


def folder(name: str, seed: int, args: argparse.Namespace) -> Path:
    """Returns the run folder."""
    arch, epochs = size(EXPERIMENTS[name], args)
    return Path(args.runs) / f"{name}-{arch}-{epochs}-{seed}"


def flops(arch: str) -> int:
    """Returns the multiply-adds of a network for one image of CIFAR-10."""
    from tfprune.graph import complexity
    from tfprune.recipes.models import build_model

    return complexity(build_model(arch, num_classes=10, input_shape=(32, 32, 3), seed=0)).flops


def measure(name: str, seed: int, args: argparse.Namespace) -> Row | int:
    """Returns the row of a run that has finished, or the exit code of one that has not."""
    if code := train_cifar(command(name, seed, args)):
        return code
    numbers = json.loads((folder(name, seed, args) / "results.json").read_text(encoding="utf-8"))
    experiment, (arch, epochs) = EXPERIMENTS[name], size(EXPERIMENTS[name], args)
    share = epochs * flops(arch) / (experiment.published_epochs * flops(experiment.published_arch))
    seconds = {key: value for key, value in numbers.items() if key.endswith("_seconds")}
    row = {"name": name, "arch": arch, "epochs": epochs, "seed": seed, "precision": args.precision}
    accuracy = numbers.get("accuracy", numbers.get("after_accuracy"))
    return row | {"accuracy": accuracy, "share": share, "seconds": sum(seconds.values())}


def todo(args: argparse.Namespace, done: Sequence[Row]) -> list[tuple[str, int]]:
    """Returns the runs that are not done, the first seed of all of them first."""
    names = args.only or [name for name in EXPERIMENTS if name != "ekg" or args.trained_param]
    there = {(row["name"], row["arch"], row["epochs"], row["seed"]) for row in done}
    seeds = range(args.seeds or max(EXPERIMENTS[name].seeds for name in names))
    runs = [(name, seed) for seed in seeds for name in names if seed < (args.seeds or EXPERIMENTS[name].seeds)]
    return [(name, seed) for name, seed in runs if (name, *size(EXPERIMENTS[name], args), seed) not in there]


def read(path: Path) -> list[Row]:
    """Returns the rows that were measured before."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def accuracy_table(rows: Sequence[Row]) -> str:
    """Returns the table of accuracies in Markdown, with mean and standard deviation where there are several seeds."""
    lines = ["| | published, % | published budget | here, % | budget here | share of the work |", "|---" * 6 + "|"]
    for name, experiment in EXPERIMENTS.items():
        sizes = dict.fromkeys((row["arch"], row["epochs"]) for row in rows if row["name"] == name)
        budget = f"{experiment.published_arch}, {experiment.published_epochs} epochs"
        published = f"{experiment.accuracy} ({experiment.source})" if experiment.accuracy else ""
        for arch, epochs in sizes:
            own = [row for row in rows if (row["name"], row["arch"], row["epochs"]) == (name, arch, epochs)]
            values = [100 * row["accuracy"] for row in own]
            here = f"{statistics.mean(values):.2f}"
            here += f" ± {statistics.stdev(values):.2f} ({len(own)} seeds)" if len(own) > 1 else ""
            cells = [experiment.method, published, budget, here, f"{arch}, {epochs} epochs", f"{own[0]['share']:.2%}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def error_table(path: Path = RESULTS / "dpp_compare.csv") -> str:
    """Returns the table of the errors of DPP-pruned students in Markdown, means over the students."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["reweight"] == "0"]
    nodes = {f"DPP node, {k} of 6 nodes": ("dpp_node", k, value) for k, value in NODES.items()}
    edges = {f"DPP edge, {k} of 500 inputs a node": ("dpp_edge", k, value) for k, value in EDGES.items()}
    lines = ["| | published | here |", "|---|---|---|"]
    for label, (choice, k, published) in (nodes | edges).items():
        errors = [float(row["error"]) for row in rows if row["choice"] == choice and int(row["k"]) == k]
        spread = statistics.stdev(errors) / len(errors) ** 0.5
        lines.append(f"| {label} | {published:.3f} | {statistics.mean(errors):.3f} ± {spread:.3f} |")
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> str:
    """Returns what the program writes into the page."""
    return f"{accuracy_table(rows)}\n\n{error_table()}"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_path")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), help="default: all; ekg needs --trained_param")
    parser.add_argument("--trained_param", help="the authors' pretrained ResNet-56, for ekg")
    parser.add_argument("--published", action="store_true", help="the authors' network and number of epochs")
    parser.add_argument("--epochs", type=int, help="default: those of each experiment")
    parser.add_argument("--arch", help="default: that of each experiment")
    parser.add_argument("--dataset", default="CIFAR10")
    parser.add_argument("--seeds", type=int, help="default: those of each experiment")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--threads", type=int, default=0, help="0 for all cores")
    parser.add_argument("--runs", type=Path, default=Path("runs/published"))
    parser.add_argument("--out", type=as_file, default=RESULTS / "published.jsonl")
    parser.add_argument("--table", nargs="?", type=Path, const=PAGE, help="only write the page, from --out")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is not done yet, and prints or writes the table; returns the exit code of a run that was stopped."""
    args = make_parser().parse_args(arguments)
    if args.table:
        rewrite(args.table, "published.py", tables(read(args.out)))
        return 0
    use_threads(args.threads)
    for name, seed in todo(args, read(args.out)):
        row = measure(name, seed, args)
        if isinstance(row, int):
            return row
        make_folder(args.out.parent)
        with args.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    print(accuracy_table(read(args.out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
