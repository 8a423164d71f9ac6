"""What `soak.py` runs, and how one can tell from outside which stage it has come to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from soak_lives import Life


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: What it is called.
        begun: Whether the processes have come to it.
    """

    name: str
    begun: Callable[[Life], bool]


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        name: What it is called.
        results: A pattern for the files of the run's folder that hold weights.
        stages: Its stages, in their order.
        settings: Words of the command line; in them `{run}` is the run's folder, `{beside}` the one that it lies in.
        before: A command that makes what this one reads, if there is one.
        workers: How many processes run it together.
    """

    name: str
    results: str
    stages: tuple[Stage, ...]
    settings: str
    before: str = ""
    workers: int = 1

    def words(self, folder: Path) -> list[str]:
        """The command line, without Python."""
        more = " --strategy multi_worker" if self.workers > 1 else ""
        return command_line(self.settings + more, folder)


def command_line(settings: str, folder: Path) -> list[str]:
    """The words of settings, their folders named."""
    return [word.format(run=folder / "run", beside=folder) for word in settings.split()]


def _table(name: str) -> Stage:
    """A training: it opens its table again."""
    return Stage(name, lambda life: life.wrote(f"metrics/{name}.jsonl"))


def _table_of(run: str) -> Stage:
    """The training of one of several runs in the folder."""
    return Stage(run, lambda life: life.wrote(f"runs/{run}/metrics/training.jsonl"))


def _after(name: str, stage: str) -> Stage:
    return Stage(name, lambda life: life.timed(stage))


_RESUME = " --train_path {run} --resume"

_EKG_STAGES = (
    _table("baseline"),
    Stage("warm_up", lambda life: life.timed("baseline") or life.said("using the baseline that an earlier run")),
    _table("search"),
    _after("memory_bank", "search"),
    _after("slimming", "memory_bank"),
    _table("finetuning"),
    _after("report", "fine_tuning"),
)
_EKG_SETTINGS = (
    "train_cifar.py --dataset digits --baseline_learning_rate 0.05 --decay_points 0.5 --batch_size 64 "
    "--val_batch_size 128 --search_images 8 --search_batch_size 80 --search_target_rate 0.8 --num_teacher 3 "
    "--knowledge_shard 128 --do_log 2 --baseline_path {beside}/baselines" + _RESUME
)

_EKG = Case("ekg", "trained.keras", _EKG_STAGES, _EKG_SETTINGS + " --arch ResNet-20 --baseline_epoch 4 --train_epoch 3")

_EKG_WORKERS = Case(
    "ekg_workers",
    "trained.keras",
    _EKG_STAGES,
    _EKG_SETTINGS + " --arch ResNet-8x2 --baseline_epoch 3 --train_epoch 2 --no_export",
    workers=2,
)

_DENSE_WORKERS = Case(
    "dense_workers",
    "trained.keras",
    (_table("training"), _after("report", "training")),
    "train_cifar.py --method dense --dataset digits --arch Conv2-BN --epochs 4 --milestones 2 --batch_size 64 "
    "--learning_rate 0.05 --do_log 2 --no_export" + _RESUME,
    workers=2,
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
    "--epochs 5 --milestones 3 --batch_size 64 --do_log 2" + _RESUME,
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
    "--rewind_epoch 1 --epochs 3 --batch_size 64 --do_log 2" + _RESUME,
)

_MULTIPRIZE = Case(
    "multiprize",
    "*.keras",
    (_table("training"), _after("report", "training")),
    "train_cifar.py --method multiprize --dataset digits --arch Conv2 --density 0.3 --epochs 6 --batch_size 64 "
    "--save_every 2 --do_log 2" + _RESUME,
)

_SANITY = Case(
    "sanity",
    "runs/*/*.keras",
    tuple(
        _table_of(f"{name}_seed0")
        for name in ("snip_original", "snip_shuffled", "dense_original", "lottery_original", "lottery_shuffled")
    ),
    "-m tfprune sanity --dataset digits --arch Conv2 --density 0.95 --epochs 2 --batch_size 64 --seeds 1 "
    "--methods snip lottery --checks shuffled" + _RESUME,
)

# The state of a student is kept every 20 seconds.
_STUDENT = Case(
    "student",
    "*.npz",
    (
        Stage("beginning", lambda life: True),
        Stage("kept", lambda life: life.wrote("student.progress.npz") or life.said("going on after")),
    ),
    "-m tfprune dpp student --teacher {beside}/teacher.npz --out {run}/student.npz --overwrite",
    before="-m tfprune dpp teacher --out {beside}/teacher.npz --num_data 500000 --overwrite",
)

CASES = {
    case.name: case for case in (_EKG, _EKG_WORKERS, _DENSE_WORKERS, _PEEKABOO, _TICKET, _MULTIPRIZE, _SANITY, _STUDENT)
}
