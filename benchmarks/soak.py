"""Runs that are killed again and again: SIGKILL at a random moment of every stage, the same command, until it is done.

The real command is started on small data. Of each case one run is left alone; it gives the files that all others must
end with: names, weights and other arrays bit for bit, rows of tables, settings. Each of the others goes through the
stages in their order, and in each something happens to it, in turn:

- It is killed at a moment that is drawn uniformly over the CPU time that the stage took in the run left alone.
- From such a moment on, it is killed as soon as it begins to write a model, a checkpoint or a row.
- At such a moment, a second process joins the run, with `--resume`, `--overwrite` or neither. It must be refused by one
  line that names the first process, with exit code 2, and leave every file as it was. Then the run goes on.

The start of the process is one of the stages, before one of the others. Of every second run, two processes start at
once, and one of them must be refused. Commands that write their files at the end must leave whole files, or none.

Where two workers run a case together, one of them is killed: in the first run the chief, in the next the other, and so
on. The one that is left must end by itself within a minute, with exit code 75, or 0 where all was done that they do
together. Then both are started again.

    python benchmarks/soak.py --runs 4 --out benchmarks/results/soak.csv

The file has a row for each stage. Its `moments` are those of the kills, as fractions of the stage's CPU time, those
while something was being written with a `w`. Exit code 1 if a run ended with other files, or an error. Cases that were
not run keep their rows in the file.
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
from threading import Lock
from typing import Any

from program import new_parser, write_rows
from soak_cases import START, TRAININGS, Case, command_line, make_images
from soak_commands import COMMANDS
from soak_files import found_differences, snapshot
from soak_lives import ROOT, Life, Stage

CASES = {case.name: case for case in (*TRAININGS, *COMMANDS)}
PATIENCE = 900.0
PATIENCE_OF_WORKERS = 60.0
LOST = 75
REFUSED = 2
POLL = 0.01
WHILE_WRITING = 0.01  # seconds from the beginning of a write in which the kill comes
JOINING = ("--resume", "--overwrite", "")


@dataclass(frozen=True)
class Kill:
    """A kill.

    Attributes:
        stage: Where.
        rank: Of which worker.
        moment: CPU time that the chief had spent in the stage, as a fraction of what the run left alone spent there.
        writing: Whether it was at the beginning of a write.
    """

    stage: str
    rank: int
    moment: float
    writing: bool

    def __str__(self) -> str:
        return f"{self.moment:.2f}{'w' if self.writing else ''}"


@dataclass
class Soak:
    """All runs of a case.

    Args:
        case: What is run.
        folder: Where; it does not exist yet. Beside it is `made`, with what the case reads.
        generator: Of the moments.

    Attributes:
        kills: Those so far.
        differences: What was not as in the run left alone.
        lengths: CPU seconds of each stage there, of the chief.
        runs: How many others were done.
        refused: How many second processes were, by stage.
        slowest: The longest time in seconds, by stage, in which a worker found out that another one is gone.
    """

    case: Case
    folder: Path
    generator: random.Random
    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    lengths: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)

    def all(self, runs: int, most: int, until: float) -> None:
        """The run left alone and then the others, as long as there is time."""
        self.folder.mkdir()
        if not self.unbroken():
            return
        for number in range(runs):
            if time.monotonic() < until:
                self.broken(number, most)

    def rows(self) -> list[dict[str, Any]]:
        """What is to be told, stage by stage."""
        rows = []
        for stage in self.case.all_stages:
            kills = [kill for kill in self.kills if kill.stage == stage.name]
            rows.append(
                {
                    "case": self.case.name,
                    "workers": self.case.workers,
                    "stage": stage.name,
                    "cpu_seconds": round(self.lengths[stage.name], 1),
                    "kills": len(kills),
                    "kills_of_chief": sum(kill.rank == 0 for kill in kills),
                    "kills_while_writing": sum(kill.writing for kill in kills),
                    "moments": " ".join(str(kill) for kill in sorted(kills, key=lambda kill: kill.moment)),
                    "refused": self.refused[stage.name],
                    "noticed_seconds": round(self.slowest[stage.name], 1) if stage.name in self.slowest else "",
                    "runs": self.runs,
                    "differences": len(self.differences),
                }
            )
        return rows

    def unbroken(self) -> bool:
        """The run left alone; notes how long the stages take. Whether all of them came."""
        life = self._begin(self.folder / "unbroken")
        last = 0.0
        while not life.ended:
            life.watch(self.case.all_stages)
            last = max(last, life.cpu_seconds() if not life.ended else 0.0)
            time.sleep(POLL)
        self._finish(life)
        self.lengths = dict.fromkeys((stage.name for stage in self.case.all_stages), 0.0)
        if missing := [stage.name for stage in self.case.stages if stage.name not in life.began]:
            self.differences.append(f"no sign of {', '.join(missing)}: {life.last_words()}")
            return False
        ends = [*list(life.began.values())[1:], last]
        self.lengths = {name: end - start for (name, start), end in zip(life.began.items(), ends, strict=True)}
        return True

    def broken(self, number: int, most: int) -> None:
        """A run to which something happens in every stage, and which is compared when it is done.

        Args:
            number: Its number.
            most: How often something happens at most.
        """
        folder = self.folder / f"run{number}"
        targets = list(self.case.stages)
        targets.insert(self.generator.randrange(len(targets) + 1), START)
        life = self._race(folder) if self.case.locked and number % 2 else self._begin(folder)
        for turn, target in enumerate(targets[:most], number):
            if not self._reach(life, target):
                break
            if turn % 3 == 2 and self.case.locked and target is not START:
                self._join(life, folder)
            elif self._killed(life, number % self.case.workers, writing=turn % 3 == 1):
                life = self._begin(folder)
            else:
                break
        self._finish(life)
        self._compare(folder)

    def _reach(self, life: Life, target: Stage) -> bool:
        """Waits for a random moment of a stage, or of a later one if it is over; whether the process came to it."""
        stages = self.case.all_stages
        enough = {stage.name for stage in stages[stages.index(target) :]}
        moment, end = self.generator.random(), None
        while not life.ended:
            stage = life.watch(stages)
            if end is None and stage in enough:
                end = life.began[stage] + moment * self.lengths[stage]
            if end is not None and life.cpu_seconds() >= end:
                return not life.ended
            time.sleep(POLL)
        return False

    def _killed(self, life: Life, victim: int, *, writing: bool) -> bool:
        """Kills a process; whether it had not ended before."""
        if writing:
            before = snapshot(life.run)
            while not life.ended and not life.saved_since(before):
                time.sleep(POLL / 5)
            time.sleep(self.generator.uniform(0, WHILE_WRITING))
        if life.processes[victim].poll() is not None:
            victim = 0  # the others have no part in the last stage
        reached, spent = life.watch(self.case.all_stages), life.cpu_seconds()
        life.processes[victim].kill()
        if life.processes[victim].wait() != -signal.SIGKILL:
            return False
        kill = Kill(reached, victim, (spent - life.began[reached]) / max(self.lengths[reached], POLL), writing)
        self.kills.append(kill)
        print(f"{self.case.name}: killed {victim} in {reached} at {kill}", flush=True)
        self._survive(life, victim, reached)
        if self.case.whole:
            self._tell(found_differences(self.folder / "unbroken" / "run", life.run, complete=False), f"after {kill}")
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
        # A worker waits ten minutes for others that have not come yet.
        allowed = (LOST, 0, None) if stage == self.case.all_stages[0].name else (LOST, 0)
        if any(code not in allowed for code in left):
            self.differences.append(f"exit codes {left} without worker {victim} in {stage}: {life.last_words()}")

    def _join(self, life: Life, folder: Path) -> None:
        """Starts a second process in the folder of a run, which is stopped meanwhile, so that it does not end."""
        words = self._words(folder)
        flag = JOINING[self.refused.total() % len(JOINING)] if "--resume" in words else "the same flags"
        words = [flag if word == "--resume" else word for word in words]
        with life.paused():
            if life.ended or not any(life.run.glob("*.lock")):  # the run is done, and the process about to end
                return
            before = snapshot(life.run)
            second = Life.begin([word for word in words if word], folder, log="second")
            code, after = second.codes(PATIENCE)[0], snapshot(life.run)
        what = f"a second process with {flag or 'neither flag'}"
        self._refused(second, code, what, life, f"process {life.processes[0].pid} ")
        changed = {name for name in before.keys() | after if before.get(name) != after.get(name)}
        self._tell([f"{name} was changed" for name in sorted(changed)], what)

    def _race(self, folder: Path) -> Life:
        """Starts two processes at once; returns the one that is not refused."""
        rivals = [self._begin(folder), Life.begin(self._words(folder), folder, log="rival")]
        while not any(each.ended for each in rivals):
            time.sleep(POLL)
        lost, won = sorted(rivals, key=lambda each: not each.ended)
        self._refused(lost, lost.codes(0)[0], "one of two that began at once", won, "in use")
        return won

    def _refused(self, second: Life, code: int | None, what: str, first: Life, words: str) -> None:
        """Checks that a second process was refused, and that its last line says so, with these words."""
        stage, said = first.watch(self.case.all_stages), second.logs[0].read_text().strip()
        print(f"{self.case.name}: {what} in {stage}: exit code {code}: {said[-300:]}", flush=True)
        clause = said.rpartition(": error: ")[2]
        if code == REFUSED and words in clause and clause != said and "\n" not in clause:
            self.refused[stage] += 1
        else:
            self.differences.append(
                f"{what} in {stage}: exit code {code}, expected {REFUSED} and one line: {said[-500:]}"
            )

    def _words(self, folder: Path) -> list[str]:
        return self.case.words(folder, self.folder.parent / "made")

    def _begin(self, folder: Path) -> Life:
        return Life.begin(self._words(folder), folder, self.case.workers)

    def _finish(self, life: Life) -> None:
        if any(codes := life.codes(PATIENCE)):
            self.differences.append(f"exit codes {codes}: {life.last_words()}")

    def _compare(self, folder: Path) -> None:
        """All files against those of the run left alone."""
        self.runs += 1
        found = found_differences(self.folder / "unbroken" / "run", folder / "run")
        self._tell(found, folder.name)
        print(f"{self.case.name}: {folder.name} done: {'; '.join(found) or 'identical'}", flush=True)

    def _tell(self, found: Sequence[str], where: str) -> None:
        self.differences += [f"{where}: {each}" for each in found]


def make_sources(cases: Sequence[Case], made: Path) -> None:
    """Makes what cases read: runs each of their commands once.

    Args:
        cases: The cases.
        made: A folder that does not exist yet.
    """
    make_images(made / "images")
    for settings in dict.fromkeys(command for case in cases for command in case.before):
        with (made / "log.txt").open("a") as log:
            subprocess.run(
                [sys.executable, *command_line(settings, made=made)], cwd=ROOT, check=True, stdout=log, stderr=log
            )


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
    parser.add_argument("--cases", nargs="+", choices=sorted(CASES), default=list(CASES))
    parser.add_argument("--runs", type=int, default=4, help="runs of each case to which something happens")
    parser.add_argument("--minutes", type=float, default=600.0, help="time after which no other run is begun")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time")
    parser.add_argument("--kills", type=int, default=100, help="kills and second processes of a run at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="an empty folder for the runs, to look at them afterwards")
    parser.add_argument("--out", type=Path)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs, prints, writes a file if asked to."""
    arguments = make_parser().parse_args(arguments)
    until = time.monotonic() + 60 * arguments.minutes
    place = nullcontext(arguments.folder) if arguments.folder else tempfile.TemporaryDirectory()
    lock = Lock()

    def soak(each: Soak) -> None:
        each.all(arguments.runs, arguments.kills, until)
        if arguments.out is not None:
            with lock:
                write_rows(arguments.out, merged(arguments.out, each.rows()))

    with place as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        make_sources([CASES[name] for name in arguments.cases], Path(folder) / "made")
        soaks = [
            Soak(CASES[name], Path(folder) / name, random.Random(f"{arguments.seed} {name}"))
            for name in arguments.cases
        ]
        list(pool.map(soak, soaks))
    differences = [f"{soak.case.name}: {each}" for soak in soaks for each in soak.differences]
    kills, refused = sum(len(each.kills) for each in soaks), sum(each.refused.total() for each in soaks)
    print(*differences, f"{kills} kills, {refused} refused, {len(differences)} differences", sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
