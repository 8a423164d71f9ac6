"""Prunes every model of keras.applications to half its FLOPs and checks the result.

    python benchmarks/applications.py                                   # all models; goes on where it was stopped
    python benchmarks/applications.py --only MobileNetV2 VGG16 --again  # these again
    python benchmarks/applications.py --latency_only                    # measures latency again, keeps the rest
    python benchmarks/applications.py --table                           # writes docs/applications.md from the rows

Weights are random, scales, offsets and the choice of channels too. Each model runs in a process of its own and adds a
row to a file of JSON lines. What is checked:

    shape     the pruned model's outputs have the shape of the original's
    error     pruned model against the whole one with the removed channels masked: largest difference, relative
    power     masked model against the original, the same measure: that there was something to get wrong
    response  pruned model on one image against another, the same measure: that the signal reaches the outputs
    counts    parameters and FLOPs of the pruned model are those that were predicted, parameters those that Keras counts
    profiler  twice the multiply-accumulates are what TensorFlow's profiler counts for kernels, before and after
    budget    FLOPs are at most what was asked for
    pinned    no layer was left alone for want of a rule
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from application_check import Row, Settings, check, failures, latency_only, model_names
from applications_table import write_table
from program import new_parser, use_threads

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "results" / "applications.jsonl"
TABLE = ROOT / "docs" / "applications.md"


def read_rows(path: Path) -> dict[str, Row]:
    """The rows by model; a later one changes what it names of an earlier one."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        row = json.loads(line)
        rows.setdefault(row["model"], {}).update(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Adds a row at the end of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def run_here(name: str, options: argparse.Namespace) -> None:
    """One model, in this process."""
    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    use_threads(settings.threads)
    measure = latency_only if options.latency_only else check
    append_row(options.rows, measure(name, settings))


def run_all(options: argparse.Namespace) -> int:
    """Each model in a process of its own; the number of those that failed."""
    known, failed = read_rows(options.rows), 0
    for name in options.only or model_names():
        wanted = name in known if options.latency_only else options.again or name not in known
        if not wanted:
            continue
        started = time.perf_counter()
        reason = run_apart(name, options)
        failed += bool(reason)
        print(f"{name:<20}{reason or 'passes':<10}{time.perf_counter() - started:>6.0f} s", flush=True)
    return failed


def run_apart(name: str, options: argparse.Namespace) -> str:
    """One model in a process of its own; what is wrong with it, if anything."""
    arguments = [sys.executable, __file__, "--here", "--only", name, "--rows", str(options.rows)]
    arguments += ["--latency_only"] if options.latency_only else []
    for field in fields(Settings):
        arguments += [f"--{field.name}", str(getattr(options, field.name))]
    done = subprocess.run(arguments, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        return f"stops with {(done.stderr.strip().splitlines() or [done.returncode])[-1]}"
    wrong = failures(read_rows(options.rows)[name])
    return f"FAILS {', '.join(wrong)}" if wrong else ""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=model_names(), metavar="NAME", help="default: all models")
    parser.add_argument("--flops", type=float, default=Settings.flops, help="fraction of the FLOPs to keep")
    parser.add_argument("--round_to", type=int, default=Settings.round_to, help="widths are multiples of this")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="of weights and choice")
    parser.add_argument("--runs", type=int, default=Settings.runs, help="timed calls of each model")
    parser.add_argument("--warm_up", type=int, default=Settings.warm_up, help="calls before them")
    parser.add_argument("--threads", type=int, default=Settings.threads, help="TensorFlow's threads")
    parser.add_argument("--rows", type=Path, default=ROWS, help="file of rows, added to")
    parser.add_argument("--again", action="store_true", help="also models that the file has rows of")
    parser.add_argument("--latency_only", action="store_true", help="only measure latency again, of models with rows")
    parser.add_argument("--table", type=Path, nargs="?", const=TABLE, help="only write the table from the rows")
    parser.add_argument("--here", action="store_true", help="run in this process")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for."""
    options = make_parser().parse_args(arguments)
    if options.table:
        write_table(read_rows(options.rows), options.table)
    elif options.here:
        for name in options.only or model_names():
            run_here(name, options)
    else:
        return min(run_all(options), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
