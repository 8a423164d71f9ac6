"""Prunes public models of several packages from PyPI, and writes a table of what is right, wrong and refused.

    python benchmarks/field.py                             # installs the packages, then all models or those left
    python benchmarks/field.py --only keras_hub --again    # the models whose names begin so, again
    python benchmarks/field.py --table                     # writes docs/field.md from the rows

The packages are installed into an environment of their own (`--environment`, a folder), together with this checkout of
tfprune. Weights are random. Each model runs in a process of its own and adds a row to a file of JSON lines. What is
checked:

    error      pruned model against the original with zeros in place of what was removed, run by Keras (relative)
    power      that reference against the original, the same measure: that there was something to get wrong
    counts     parameters are those that the plan says
    reload     a process that cannot import tfprune loads the file and computes the same
    train      a small step against the gradient lowers the loss as predicted
    exports    SavedModel, TFLite, ONNX compute the same in TensorFlow, LiteRT, ONNX Runtime
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from field_models import MODELS, PACKAGES
from field_table import failures, write_table
from program import new_parser

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "results" / "field.jsonl"
TABLE = ROOT / "docs" / "field.md"
ENVIRONMENT = ROOT / "build" / "field"
Row = dict[str, Any]


def read_rows(path: Path) -> dict[str, Row]:
    """The rows by model; the last one of each counts."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    return {row["model"]: row for row in map(json.loads, lines)}


def installed(folder: Path) -> Path:
    """Returns the Python of an environment with tfprune and the packages, which is made where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{ROOT}[onnx]", *PACKAGES], check=True)
        (folder / "ready").touch()
    return python


def run_all(options: argparse.Namespace) -> int:
    """Runs each model in a process of its own; returns the number of those that fail a check."""
    python = Path(sys.executable) if options.here else installed(options.environment)
    known, failed = read_rows(options.rows), 0
    for name in chosen(options.only):
        if name in known and not options.again:
            continue
        started = time.perf_counter()
        row = run_apart(python, name, options)
        options.rows.parent.mkdir(parents=True, exist_ok=True)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        wrong = failures(row)
        failed += bool(wrong)
        said = f"FAILS {', '.join(wrong)}" if wrong else "passes" if "error" in row else "refused"
        print(f"{name:<34}{said:<12}{time.perf_counter() - started:>5.0f} s", flush=True)
    return failed


def chosen(prefixes: Sequence[str] | None) -> list[str]:
    """The models whose names begin with one of the texts; all by default."""
    return [name for name in MODELS if not prefixes or name.startswith(tuple(prefixes))]


def run_apart(python: Path, name: str, options: argparse.Namespace) -> Row:
    """Returns the row of one model, which a new process measures."""
    command = [str(python), __file__, "--measure", name, "--flops", str(options.flops)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=options.seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"model": name, "stopped": f"takes more than {options.seconds} s"}
    if done.returncode:
        return {"model": name, "stopped": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    row: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def counted(rows: Mapping[str, Row]) -> str:
    """One line: how many models pass, are refused, or fail."""
    wrong = sum(bool(failures(row)) for row in rows.values())
    refused = sum("error" not in row and not failures(row) for row in rows.values())
    return f"{len(rows)} models: {len(rows) - wrong - refused} pass, {refused} refused with a reason, {wrong} fail"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="beginnings of names, such as kimm or kimm.ResNet18")
    parser.add_argument("--flops", type=float, default=0.5, help="fraction of the FLOPs to keep")
    parser.add_argument("--rows", type=Path, default=ROWS, help="file of rows, added to")
    parser.add_argument("--again", action="store_true", help="also models that the file has rows of")
    parser.add_argument("--seconds", type=int, default=900, help="longest time for one model")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="folder for the packages")
    parser.add_argument("--here", action="store_true", help="use the packages of this Python, install nothing")
    parser.add_argument("--measure", metavar="NAME", help="measure one model in this process and print its row")
    parser.add_argument("--table", type=Path, nargs="?", const=TABLE, help="only write the table from the rows")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for."""
    options = make_parser().parse_args(arguments)
    if options.table:
        write_table(read_rows(options.rows), options.table)
        return 0
    if options.measure:
        from field_check import check  # imports TensorFlow

        print(json.dumps(check(options.measure, options.flops, seed=0)))
        return 0
    failed = run_all(options)
    print(counted(read_rows(options.rows)))
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
