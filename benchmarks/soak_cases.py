"""What `soak.py` runs, and how one can tell from outside which stage it has come to: trainings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from soak_lives import Stage


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        name: What it is called.
        stages: Its stages after the start of its process, in their order.
        settings: Words of the command line; in them `{run}` is the run's folder, `{beside}` the one that it lies in,
            `{made}` the one with what `before` made.
        before: Commands that make what this one reads; they run once.
        workers: How many processes run it together.
        locked: Whether the run has its folder for itself: another process is refused.
        whole: Whether the command writes its files at its end, so that a kill leaves whole ones or none.
    """

    name: str
    stages: tuple[Stage, ...]
    settings: str
    before: tuple[str, ...] = ()
    workers: int = 1
    locked: bool = False
    whole: bool = False

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages, and before them the start of the process."""
        return (START, *self.stages)

    def words(self, folder: Path, made: Path) -> list[str]:
        """The command line, without Python."""
        more = " --strategy multi_worker" if self.workers > 1 else ""
        return command_line(self.settings + more, run=folder / "run", beside=folder, made=made)


def command_line(settings: str, **folders: Path) -> list[str]:
    """The words of settings, their folders named."""
    return [word.format(**folders) for word in settings.split()]


IMAGES = "{made}/images"
"""A folder of images like those of ImageNet, which `make_images` makes."""

START = Stage("start", lambda life: True)
_RESUME = " --train_path {run} --resume"
_DIGITS = " --dataset digits --batch_size 64 --do_log 4"
_FEW = _DIGITS + " --fraction 0.3"
TRAINED = (
    f"train_cifar.py --method dense --arch Conv2-BN --epochs 1 --no_export --train_path {{made}}/trained{_FEW} --resume"
)
SUBNET = (
    "train_cifar.py --method multiprize --arch Conv2-BN --density 0.3 --epochs 1 --no_export "
    f"--train_path {{made}}/subnet{_FEW} --resume"
)
_RESNET = (
    "train_cifar.py --method dense --arch ResNet-8x2 --epochs 2 --learning_rate 0.05 --no_export "
    f"--train_path {{made}}/resnet{_DIGITS} --resume"
)


def make_images(folder: Path) -> None:
    """Makes a folder of small images of three classes."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for name in "abc":
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(generator.integers(0, 256, (20, 24, 3), np.uint8))
                image.save(folder / part / name / f"{number}.JPEG")


def wrote(name: str, file: str) -> Stage:
    """What begins when a file is there."""
    return Stage(name, lambda life: life.wrote(file))


def table(name: str) -> Stage:
    """A training: it opens its table again."""
    return wrote(name, f"metrics/{name}.jsonl")


def table_of(run: str) -> Stage:
    """The training of one of several runs in the folder."""
    return wrote(run, f"runs/{run}/metrics/training.jsonl")


def after(name: str, stage: str) -> Stage:
    """What begins when the run has noted how long the stage before it took."""
    return Stage(name, lambda life: life.timed(stage))


_EKG_STAGES = (
    table("baseline"),
    Stage("warm_up", lambda life: life.timed("baseline") or life.said("using the baseline that an earlier run")),
    table("search"),
    after("memory_bank", "search"),
    after("slimming", "memory_bank"),
    table("finetuning"),
    after("report", "fine_tuning"),
)
_EKG = (
    "train_cifar.py --arch ResNet-8x2 --val_batch_size 128 --search_images 4 --pretrain_images 16 "
    "--search_batch_size 40 --decay_points 0.5 --num_teacher 2 --knowledge_shard 128" + _DIGITS + _RESUME
)
_EKG_BASELINE = " --baseline_learning_rate 0.05 --baseline_path {beside}/baselines --search_target_rate 0.8"
_TICKET_STAGES = (wrote("scores", "initial.keras"), table("training"), after("report", "training"))
_TICKET = "train_cifar.py --method ticket --no_export --density 0.3"
_SANITY_RUNS = (
    *(f"{name}_{check}" for name in ("smart_ratio", "snip", "grasp") for check in ("original", "shuffled")),
    "dense_original",
    *(f"{name}_{check}" for name in ("hybrid", "lottery") for check in ("original", "shuffled")),
)

TRAININGS = (
    Case(
        "ekg",
        _EKG_STAGES,
        _EKG + _EKG_BASELINE + " --fraction 0.5 --baseline_epoch 3 --train_epoch 2 --record_landscape sections",
        locked=True,
    ),
    Case(
        "ekg_hessian",
        (table("search"), after("memory_bank", "search"), after("report", "fine_tuning")),
        _EKG + " --fraction 0.5 --trained_param {made}/resnet/trained.keras --search_target_rate 0.92 --train_epoch 1 "
        "--record_landscape hessian --no_export",
        before=(_RESNET,),
        locked=True,
    ),
    Case(
        "ekg_workers",
        _EKG_STAGES,
        _EKG + _EKG_BASELINE + " --baseline_epoch 3 --train_epoch 2 --no_export",
        workers=2,
    ),
    Case(
        "dense",
        (table("training"), wrote("export", "trained.keras")),
        "train_cifar.py --method dense --arch Conv2-BN --epochs 5 --milestones 3" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "dense_workers",
        (table("training"), after("report", "training")),
        "train_cifar.py --method dense --arch Conv2-BN --epochs 4 --milestones 2 --learning_rate 0.05 --no_export"
        + _DIGITS
        + _RESUME,
        workers=2,
    ),
    Case(
        "images_on_disk",
        (table("training"), after("report", "training")),
        f"train_imagenet.py {IMAGES} --method dense --arch Conv2-BN --image_size 16 --resize_size 18 "
        "--batch_size 6 --val_batch_size 6 --epochs 4 --milestones 2 --do_log 2 --no_export" + _RESUME,
        locked=True,
    ),
    Case(
        "peekaboo",
        (
            wrote("pruning", "initial.keras"),
            table("training"),
            wrote("first_shot", "masks_epoch1.npz"),
            wrote("last_shot", "masks_epoch3.npz"),
            after("report", "training"),
        ),
        "train_cifar.py --method peekaboo --arch Conv2 --density 0.3 --prune_iters 20 --prune_epoch 3 --prune_shots 3 "
        "--psg --epochs 5 --milestones 4" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "snip",
        _TICKET_STAGES,
        f"{_TICKET} --arch Conv2-BN --ticket snip --prune_batch_size 20 --epochs 3" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "grasp",
        _TICKET_STAGES,
        f"{_TICKET} --arch Conv2-BN --ticket grasp --prune_batch_size 20 --epochs 3" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "iterative",
        (
            table("before_rewinding"),
            table("round1"),
            table("round2"),
            table("training"),
            after("report", "training"),
        ),
        f"{_TICKET} --arch Conv2 --ticket iterative --rounds 2 --rewind_epoch 1 --epochs 3" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "multiprize",
        (table("training"), after("report", "training")),
        "train_cifar.py --method multiprize --arch Conv2 --density 0.3 --epochs 5 --save_every 2" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "multiprize_augmix",
        (table("training"), after("report", "training")),
        "train_cifar.py --method multiprize --arch Conv2-BN --density 0.3 --binary_activations --augmix --jsd "
        "--scope global --density_ramp_epochs 2 --epochs 4 --no_export" + _FEW + _RESUME,
        locked=True,
    ),
    Case(
        "sanity",
        (*(table_of(f"{run}_seed0") for run in _SANITY_RUNS), wrote("table", "sanity.json")),
        "-m tfprune sanity --dataset digits --fraction 0.3 --arch Conv2-BN --density 0.95 --epochs 2 --batch_size 64 "
        "--seeds 1 --methods smart_ratio snip grasp hybrid lottery --checks shuffled --samples_per_class 2" + _RESUME,
        locked=True,
    ),
)
