"""Runs that are killed again and again: SIGKILL at a random moment of every stage, `--resume`, until the run is done.

The real command is started on the embedded digits. Of each case one run is left alone; it gives the weights that all
others must end with, bit for bit, and the tables. Each of the others is killed once in every stage, in their order: as
soon as its files or its output show that a process has come to the stage, after a random part of the CPU time that the
stage took in the run left alone.

    python benchmarks/soak.py --runs 4 --out benchmarks/results/soak.csv

Exit code 1 if a run ended with other weights, other tables, or an error.
"""

import argparse
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from soak_cases import CASES, Case, Life, Stage

ROOT = Path(__file__).parents[1]
PATIENCE = 600.0
POLL = 0.01


@dataclass
class Soak:
    """All runs of a case.

    Args:
        case: What is run.
        folder: Where; empty.
        generator: Of the moments to kill at.

    Attributes:
        kills: How many processes were killed in each stage.
        differences: What was not as in the run left alone.
        lengths: CPU seconds of each stage there.
        runs: How many others were done.
    """

    case: Case
    folder: Path
    generator: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    lengths: dict[str, float] = field(default_factory=dict)
    runs: int = 0

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
                "stage": stage.name,
                "cpu_seconds": round(self.lengths[stage.name], 1),
                "kills": self.kills[stage.name],
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
        while life.process.poll() is None:
            last = max(last, life.cpu_seconds())
            for stage in self.case.stages:
                if stage.name not in began and stage.begun(life):
                    began[stage.name] = last
            time.sleep(POLL)
        self._finish(life)
        ends = [*list(began.values())[1:], last]
        self.lengths = {name: end - start for (name, start), end in zip(began.items(), ends, strict=True)}
        if missing := [stage.name for stage in self.case.stages if stage.name not in began]:
            raise SystemExit(f"{self.case.name}: no sign of {', '.join(missing)}")

    def broken(self, number: int, most: int) -> None:
        """A run that is killed in every stage, `most` times at most, and compared when it is done."""
        folder = self.folder / f"run{number}"
        stages = list(self.case.stages)
        for target in stages[:most]:
            life = self._begin(folder)
            if not self._killed(life, target):
                break
        else:
            life = self._begin(folder)
        self._finish(life)
        self._compare(folder)

    def _killed(self, life: Life, target: Stage) -> bool:
        """Kills a process in a stage; whether it came so far that it could be killed."""
        while not any(stage.begun(life) for stage in self.case.stages[self.case.stages.index(target) :]):
            if life.process.poll() is not None:
                return False
            time.sleep(POLL)
        end = life.cpu_seconds() + self.generator.uniform(0, self.lengths[target.name])
        while life.cpu_seconds() < end:
            if life.process.poll() is not None:
                return False
            time.sleep(POLL)
        reached = [stage.name for stage in self.case.stages if stage.begun(life)][-1]
        life.process.kill()
        if life.process.wait() != -signal.SIGKILL:
            return False
        self.kills[reached] += 1
        print(f"{self.case.name}: killed in {reached} after {time.time() - life.started:.1f} s", flush=True)
        return True

    def _begin(self, folder: Path) -> Life:
        folder.mkdir(exist_ok=True)
        log = folder / "log.txt"
        words = [*self.case.words(folder), "--train_path", str(folder / "run"), "--resume"]
        started = time.time()
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Life(folder / "run", log, process, started)

    def _finish(self, life: Life) -> None:
        if code := life.process.wait(PATIENCE):
            self.differences.append(f"exit code {code}: {life.log.read_text()[-500:]}")

    def _compare(self, folder: Path) -> None:
        """Weights and tables against those of the run left alone."""
        expected, received = (each / "run" for each in (self.folder / "unbroken", folder))
        self.runs += 1
        found = []
        if not received.joinpath(self.case.result).exists():
            found.append("no result")
        elif not same_weights(expected / self.case.result, received / self.case.result):
            found.append("other weights")
        found += [
            f"other rows in {name}" for name in tables(expected) if tables(expected)[name] != tables(received).get(name)
        ]
        self.differences += [f"{folder.name}: {each}" for each in found]
        print(f"{self.case.name}: {folder.name} done: {', '.join(found) or 'identical'}", flush=True)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two `.keras` files hold the same arrays, bit for bit."""
    first, second = arrays(one), arrays(other)
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)


def arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.keras` file, by name."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = np.asarray(node)

    with zipfile.ZipFile(file) as content, h5py.File(io.BytesIO(content.read("model.weights.h5"))) as weights:
        weights.visititems(take)
    return found


def tables(run: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of all tables of a run, but not how long they took."""
    found = {}
    for file in sorted((run / "metrics").glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.stem] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    return found


def main(words: list[str] | None = None) -> int:
    """Runs, prints, writes a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=sorted(CASES))
    parser.add_argument("--runs", type=int, default=4, help="runs of each case that are killed in every stage")
    parser.add_argument("--minutes", type=float, default=600.0, help="time after which no other run is begun")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--kills", type=int, default=100, help="kills of a run at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(words)
    until = time.monotonic() + 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        soaks = [Soak(CASES[name], Path(folder) / name, random.Random(arguments.seed)) for name in arguments.cases]
        list(pool.map(lambda soak: soak.all(arguments.runs, arguments.kills, until), soaks))
    rows = [row for soak in soaks for row in soak.rows()]
    if arguments.out is not None:
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    differences = [f"{soak.case.name}: {each}" for soak in soaks for each in soak.differences]
    print(*differences, f"{sum(row['kills'] for row in rows)} kills, {len(differences)} differences", sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
