"""What `soak.py` runs, and how one can tell from outside which stage a process has come to."""

import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Life:
    """One process of a run.

    Attributes:
        run: The run's folder.
        log: What the process says.
        process: The process.
        started: When, in seconds since the epoch.
        seconds: Times of the stages as the process found them.
    """

    run: Path
    log: Path
    process: subprocess.Popen
    started: float
    seconds: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self._times()

    def wrote(self, name: str) -> bool:
        """Whether it has written a file."""
        try:
            return (self.run / name).stat().st_mtime >= self.started
        except FileNotFoundError:
            return False

    def timed(self, stage: str) -> bool:
        """Whether it has come to the end of a stage whose time the run keeps."""
        return self._times().get(stage, 0.0) > self.seconds.get(stage, 0.0)

    def cpu_seconds(self) -> float:
        """CPU time it has taken so far; as much as ever was wanted if it is no more."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except FileNotFoundError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def said(self, text: str) -> bool:
        """Whether it has printed something."""
        return text in self.log.read_text()

    def _times(self) -> dict[str, float]:
        file = self.run / "seconds.json"
        return json.loads(file.read_text()) if file.exists() else {}


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: What it is called.
        begun: Whether a process has come to it.
    """

    name: str
    begun: Callable[[Life], bool]


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        name: What it is called.
        result: The file that holds the final weights.
        stages: Its stages, in their order.
        settings: Words of the command line, of which those that end in `/` are folders beside the run's.
    """

    name: str
    result: str
    stages: tuple[Stage, ...]
    settings: str

    def words(self, folder: Path) -> list[str]:
        """The command line, without Python and the run's folder."""
        return [str(folder / word) if word.endswith("/") else word for word in self.settings.split()]


def _table(name: str) -> Stage:
    """A training: it opens its table anew."""
    return Stage(name, lambda life: life.wrote(f"metrics/{name}.jsonl"))


def _after(name: str, stage: str) -> Stage:
    return Stage(name, lambda life: life.timed(stage))


_EKG = Case(
    "ekg",
    "finetuned.keras",
    (
        _table("baseline"),
        Stage("warm_up", lambda life: life.timed("baseline") or life.said("using the baseline that an earlier run")),
        _table("search"),
        _after("memory_bank", "search"),
        _after("slimming", "memory_bank"),
        _table("finetuning"),
        _after("report", "fine_tuning"),
    ),
    "train_cifar.py --dataset digits --arch ResNet-20 --baseline_epoch 4 --baseline_learning_rate 0.05 --train_epoch 3 "
    "--decay_points 0.5 --batch_size 64 --val_batch_size 128 --search_images 8 --search_batch_size 80 "
    "--search_target_rate 0.8 --num_teacher 3 --knowledge_shard 128 --do_log 2 --baseline_path baselines/",
)

_PEEKABOO = Case(
    "peekaboo",
    "trained.keras",
    (
        Stage("pruning", lambda life: life.wrote("initial.keras")),
        _table("training"),
        _after("report", "training"),
    ),
    "train_cifar.py --method peekaboo --dataset digits --arch Conv2 --density 0.3 --prune_iters 20 --psg "
    "--epochs 5 --milestones 3 --batch_size 64 --do_log 2",
)

_TICKET = Case(
    "ticket",
    "trained.keras",
    (
        _table("before_rewinding"),
        _table("round1"),
        _table("round2"),
        _table("training"),
        _after("report", "training"),
    ),
    "train_cifar.py --method ticket --dataset digits --arch Conv2 --ticket iterative --density 0.3 --rounds 2 "
    "--rewind_epoch 1 --epochs 3 --batch_size 64 --do_log 2",
)

CASES = {case.name: case for case in (_EKG, _PEEKABOO, _TICKET)}
