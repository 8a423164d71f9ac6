"""Compares two checkouts of tfprune: small runs of every method and command give the same files, bit for bit.

    python benchmarks/compare_checkouts.py OLD NEW
    python benchmarks/compare_checkouts.py OLD NEW --work DIR --only ekg peekaboo_synflow --jobs 2
    python benchmarks/compare_checkouts.py --list

A run is a list of command lines, executed one after the other in the root of each checkout with the same interpreter
and the same inputs, on one thread. A checkout is any folder with tfprune's sources; it needs no git. What OLD writes is
kept in DIR/old and used again by the next comparison, as long as the commands, the interpreter, and the sources of OLD
are the same. NEW is executed every time, in DIR/new/NAME_OF_NEW: several checkouts can be compared with the same
baseline at once.

The weights in models, checkpoints and SavedModels, all other arrays, the rows of tables, the settings, the names of all
files, and the exit codes have to be equal. Durations and dates are not compared. What may be worded differently (the
output, figures, tables for people), the module that a model file names beside the registered name of a class, and the
length of such files are notes. The exit code is 1 if anything differs.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from compare_files import Comparison, files_of
from compare_runs import RUNS, make_inputs
from program import new_parser

SHOWN = 5


@dataclass
class Checkout:
    """A checkout, and where its runs are kept.

    Args:
        root: The folder of the checkout.
        runs: The folder of its runs.
        inputs: The folder of the models and images that runs of all checkouts read.
    """

    root: Path
    runs: Path
    inputs: Path

    def environment(self) -> dict[str, str]:
        """Returns the environment of its commands: one thread, and only this checkout of tfprune."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        kept = {name: value for name, value in os.environ.items() if name not in ("TF_DETERMINISTIC_OPS", "TF_CONFIG")}
        changed = {"PYTHONPATH": str(self.root), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}
        return kept | threads | changed

    def version(self) -> str:
        """Returns a digest of the sources of the checkout: its Python files and its configs."""
        digest = hashlib.sha256()
        found = (path for folder in ("tfprune", "configs") for path in (self.root / folder).rglob("*"))
        for path in sorted((*self.root.glob("*.py"), *found)):
            if path.suffix in (".py", ".yaml"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(self.root).as_posix()} {content}\n".encode())
        return digest.hexdigest()

    def execute(self, name: str, commands: tuple[str, ...], *, keep: bool) -> Path:
        """Executes the commands of a run and returns its folder; with `keep` only where that was not done before."""
        folder = self.runs / name
        marker = folder / "done"
        made_by = {"python": sys.executable, "version": self.version(), "commands": list(commands)}
        if keep and marker.exists() and json.loads(marker.read_text()) == made_by:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        start, codes = time.monotonic(), []
        for number, command in enumerate(commands):
            words = [word.format(run=folder, inputs=self.inputs) for word in shlex.split(command)]
            with (folder / f"{number}.stdout").open("w") as out, (folder / f"{number}.stderr").open("w") as error:
                done = subprocess.run(
                    [sys.executable, *words], cwd=self.root, env=self.environment(), stdout=out, stderr=error
                )
            codes.append(done.returncode)
        (folder / "exit_codes.json").write_text(json.dumps(codes))
        (folder / "duration").write_text(f"{time.monotonic() - start:.1f}\n")
        marker.write_text(json.dumps(made_by))
        return folder

    def anonymous(self, text: str) -> str:
        """Returns a text without the folders of this checkout."""
        return text.replace(str(self.runs), "RUNS").replace(str(self.root), "CHECKOUT")


def _report(name: str, old: Checkout, new: Checkout) -> bool:
    """Executes a run in both checkouts, prints what differs, and returns whether all is the same."""
    folders = old.execute(name, RUNS[name], keep=True), new.execute(name, RUNS[name], keep=False)
    comparison = Comparison(*folders, hidden=(old.anonymous, new.anonymous))
    comparison.compare()
    differences = comparison.differences + _failures(folders[0])
    durations = " and ".join(f"{(folder / 'duration').read_text().strip()} s" for folder in folders)
    count = len(differences)
    lines = [f"{name}: {f'differs in {count}' if count else 'same'} ({len(files_of(folders[0]))} files, {durations})"]
    lines += [f"    {difference}" for difference in differences[:SHOWN]]
    lines += [f"    note: {note}" for note in comparison.notes[:SHOWN]]
    print("\n".join(lines), flush=True)
    return not count


def _failures(folder: Path) -> list[str]:
    """Returns a line if commands of OLD failed, with what the first of them said last."""
    codes = json.loads((folder / "exit_codes.json").read_text())
    failed = [str(number) for number, code in enumerate(codes) if code]
    if not failed:
        return []
    lines = (folder / f"{failed[0]}.stderr").read_text().strip().splitlines() or ["no message"]
    return [f"OLD fails in command {', '.join(failed)}: {lines[-1]}"]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the program's flags."""
    parser = new_parser(__doc__)
    parser.add_argument("old", type=Path, nargs="?", help="the checkout to compare with")
    parser.add_argument("new", type=Path, nargs="?", help="the checkout that is to do the same")
    parser.add_argument("--work", type=Path, help="folder of all runs; by default one for temporary files")
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="NAME", help="runs to compare instead of all")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--baseline", action="store_true", help="only execute what is missing of OLD")
    parser.add_argument("--list", action="store_true", help="print the commands of all runs")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Compares the runs that the command line names; returns the exit code."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    names = args.only or list(RUNS)
    commands = [(name, command) for name in names for command in RUNS[name]]
    if args.list:
        print("\n".join(f"{name}: {command}" for name, command in commands))
        return 0
    if args.old is None or (args.new is None and not args.baseline):
        parser.error("two checkouts are needed")
    work = (args.work or Path(tempfile.gettempdir()) / "tfprune_compared").resolve()
    old = Checkout(args.old.resolve(), work / "old", work / "inputs")
    make_inputs(old.inputs, [command for _, command in commands], old.root, old.environment())
    start = time.monotonic()
    with ThreadPoolExecutor(args.jobs) as pool:
        if args.baseline:
            list(pool.map(lambda name: print(old.execute(name, RUNS[name], keep=True), flush=True), names))
            return 0
        new = Checkout(args.new.resolve(), work / "new" / args.new.resolve().name, old.inputs)
        same = list(pool.map(lambda name: _report(name, old, new), names))
    print(f"{sum(same)} of {len(same)} runs are the same, {time.monotonic() - start:.0f} s")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
