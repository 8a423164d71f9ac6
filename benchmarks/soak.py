"""Runs that are killed again and again: SIGKILL at a random moment of every stage, `--resume`, until the run is done.

The real command is started on the embedded digits. Of each case one run is left alone; it gives the weights that all
others must end with, bit for bit, and the tables. Each of the others is killed once in every stage, in their order: as
soon as its files or its output show that a process has come to the stage, after a random part of the CPU time that the
stage took in the run left alone.

Where two workers run a case together, one of them is killed: in the first run the chief, in the next the other, and so
on. The one that is left must end by itself within a minute, with exit code 75, or 0 where all was done that they do
together. Then both are started again. Their weights are compared bit for bit, too.

    python benchmarks/soak.py --runs 4 --out benchmarks/results/soak.csv

Exit code 1 if a run ended with other weights, other tables, or an error. Cases that were not run keep their rows in the
file.
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from program import new_parser
from soak_cases import CASES, Case, Stage, command_line
from soak_files import found_differences
from soak_lives import ROOT, Life

PATIENCE = 900.0
PATIENCE_OF_WORKERS = 60.0
LOST = 75
POLL = 0.01


@dataclass
class Soak:
    """All runs of a case.

    Args:
        case: What is run.
        folder: Where; empty.
        generator: Of the moments to kill at.

    Attributes:
        kills: How many processes were killed, by stage and rank.
        differences: What was not as in the run left alone.
        lengths: CPU seconds of each stage there, of the chief.
        runs: How many others were done.
        slowest: The longest time in seconds, by stage, in which a worker found out that another one is gone.
    """

    case: Case
    folder: Path
    generator: random.Random
    kills: Counter[tuple[str, int]] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    lengths: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    slowest: dict[str, float] = field(default_factory=dict)

    def all(self, runs: int, most: int, until: float) -> None:
        """The run left alone and then the others, as long as there is time."""
        self.folder.mkdir()
        self.unbroken()
        for number in range(runs):
            if time.monotonic() < until:
                self.broken(number, most)

    def rows(self) -> list[dict[str, Any]]:
        """What is to be told, stage by stage."""
        return [
            {
                "case": self.case.name,
                "workers": self.case.workers,
                "stage": stage.name,
                "cpu_seconds": round(self.lengths[stage.name], 1),
                "kills": sum(self.kills[stage.name, rank] for rank in range(self.case.workers)),
                "kills_of_chief": self.kills[stage.name, 0],
                "noticed_seconds": round(self.slowest[stage.name], 1) if stage.name in self.slowest else "",
                "runs": self.runs,
                "differences": len(self.differences),
            }
            for stage in self.case.stages
        ]

    def unbroken(self) -> None:
        """The run left alone; notes how long the stages take."""
        life = self._begin(self.folder / "unbroken")
        began: dict[str, float] = {}
        last = 0.0
        while not life.ended:
            last = max(last, life.cpu_seconds())
            for stage in self.case.stages:
                if stage.name not in began and stage.begun(life):
                    began[stage.name] = last
            time.sleep(POLL)
        self._finish(life)
        if missing := [stage.name for stage in self.case.stages if stage.name not in began]:
            raise SystemExit(f"{self.case.name}: no sign of {', '.join(missing)}: {life.last_words()}")
        ends = [*list(began.values())[1:], last]
        self.lengths = {name: end - start for (name, start), end in zip(began.items(), ends, strict=True)}

    def broken(self, number: int, most: int) -> None:
        """A run that is killed in every stage, `most` times at most, and compared when it is done."""
        folder = self.folder / f"run{number}"
        for target in self.case.stages[:most]:
            life = self._begin(folder)
            if not self._killed(life, target, victim=number % self.case.workers):
                break
        else:
            life = self._begin(folder)
        self._finish(life)
        self._compare(folder)

    def _killed(self, life: Life, target: Stage, victim: int) -> bool:
        """Kills a process in a stage; whether it came so far that it could be killed."""
        while not any(stage.begun(life) for stage in self.case.stages[self.case.stages.index(target) :]):
            if life.ended:
                return False
            time.sleep(POLL)
        end = life.cpu_seconds() + self.generator.uniform(0, self.lengths[target.name])
        while life.cpu_seconds() < end:
            if life.ended:
                return False
            time.sleep(POLL)
        reached = [stage.name for stage in self.case.stages if stage.begun(life)][-1]
        if life.processes[victim].poll() is not None:
            victim = 0  # the others have no part in the last stage
        life.processes[victim].kill()
        if life.processes[victim].wait() != -signal.SIGKILL:
            return False
        self.kills[reached, victim] += 1
        print(f"{self.case.name}: killed {victim} in {reached} after {time.time() - life.started:.1f} s", flush=True)
        self._survive(life, victim, reached)
        return True

    def _survive(self, life: Life, victim: int, stage: str) -> None:
        """Waits for the workers that are left, which have to end by themselves."""
        if self.case.workers == 1:
            return
        began = time.monotonic()
        codes = life.codes(PATIENCE_OF_WORKERS)
        seconds = time.monotonic() - began
        self.slowest[stage] = max(seconds, self.slowest.get(stage, 0.0))
        left = [code for rank, code in enumerate(codes) if rank != victim]
        print(f"{self.case.name}: without {victim} in {stage}: exit codes {left} after {seconds:.1f} s", flush=True)
        if any(code not in (LOST, 0) for code in left):
            self.differences.append(f"exit codes {left} without worker {victim} in {stage}: {life.last_words()}")

    def _begin(self, folder: Path) -> Life:
        folder.mkdir(exist_ok=True)
        if self.case.before:
            subprocess.run([sys.executable, *command_line(self.case.before, folder)], cwd=ROOT, check=True)
        return Life.begin(self.case.words(folder), folder, self.case.workers)

    def _finish(self, life: Life) -> None:
        if any(codes := life.codes(PATIENCE)):
            self.differences.append(f"exit codes {codes}: {life.last_words()}")

    def _compare(self, folder: Path) -> None:
        """Weights and tables against those of the run left alone."""
        self.runs += 1
        found = found_differences(self.folder / "unbroken" / "run", folder / "run", self.case.results)
        self.differences += [f"{folder.name}: {each}" for each in found]
        print(f"{self.case.name}: {folder.name} done: {', '.join(found) or 'identical'}", flush=True)


def merged(file: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and those of a file that are of other cases."""
    cases = {row["case"] for row in rows}
    if not file.exists():
        return rows
    with file.open() as content:
        kept = [row for row in csv.DictReader(content) if row["case"] not in cases]
    return sorted([*kept, *rows], key=lambda row: list(CASES).index(row["case"]))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=sorted(CASES))
    parser.add_argument("--runs", type=int, default=4, help="runs of each case that are killed in every stage")
    parser.add_argument("--minutes", type=float, default=600.0, help="time after which no other run is begun")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--kills", type=int, default=100, help="kills of a run at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="a folder for the runs, to look at them afterwards")
    parser.add_argument("--out", type=Path)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints, writes a file if asked to."""
    arguments = make_parser().parse_args(arguments)
    until = time.monotonic() + 60 * arguments.minutes
    place = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory()
    with place as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        soaks = [Soak(CASES[name], Path(folder) / name, random.Random(arguments.seed)) for name in arguments.cases]
        list(pool.map(lambda soak: soak.all(arguments.runs, arguments.kills, until), soaks))
    rows = [row for soak in soaks for row in soak.rows()]
    if arguments.out is not None:
        told = merged(arguments.out, rows)
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(told)
    differences = [f"{soak.case.name}: {each}" for soak in soaks for each in soak.differences]
    print(*differences, f"{sum(row['kills'] for row in rows)} kills, {len(differences)} differences", sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
