"""The settings of `tfprune sanity`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfprune.errors import ConfigError
from tfprune.recipes.run_config import usual_milestones
from tfprune.settings import Settings, require, setting

UNTRAINED = ("smart_ratio", "snip", "grasp", "synflow", "magnitude", "random")
TRAINED = ("lottery", "partially_trained", "hybrid")
WITH_DATA = ("snip", "grasp", *TRAINED)
CHECKS = ("rearranged", "shuffled", "half_data", "corrupted", "inverse", "reinitialized")
OF_DATA = ("half_data", "corrupted")


@dataclass(frozen=True)
class SanityConfig(Settings):
    """Trains tickets and their sanity checks, and tests whether the checks change the accuracy.

    Every combination of methods, checks and seeds is trained in its own folder under `runs`. Finished runs are kept
    with --resume.
    """

    train_path: str | None = setting(
        None,
        "Folder of all runs, the table (sanity.json, sanity.csv) and the plot (sanity.png).",
        if_none="a folder under `runs/sanity` named after architecture, data set and density",
        group="run",
        recorded=False,
    )
    resume: bool = setting(False, "Continue the runs in `train_path`.", group="run", recorded=False)
    overwrite: bool = setting(
        False, "Start again in a `train_path` that already contains runs.", group="run", recorded=False
    )
    methods: tuple[str, ...] = setting(
        ("smart_ratio", "snip", "grasp", "partially_trained"),
        "How tickets are found: smart_ratio, snip, grasp, synflow, magnitude, random; and by magnitude after dense "
        "training: lottery (returns to the initial weights), partially_trained (continues with the trained ones), "
        "hybrid (like partially_trained, with the counts of the smart ratios).",
        group="checks",
        recorded=False,
    )
    checks: tuple[str, ...] = setting(
        ("rearranged", "shuffled", "half_data", "corrupted"),
        "What is compared with the original tickets: rearranged (masks permuted in each layer), shuffled (kept weights "
        "permuted in each layer), half_data and corrupted (found on half of the images, or on random labels and "
        "shuffled pixels; only for methods that use data), inverse (lowest scores), reinitialized.",
        group="checks",
        recorded=False,
    )
    seeds: int = setting(
        3, "Number of seeds, from 0 on; at least 2 for a test.", group="checks", recorded=False, at_least=1
    )
    arch: str = setting("ResNet-32", "Architecture, such as ResNet-20 or VGG-19.", group="training")
    dataset: str = setting("CIFAR10", "Data set: CIFAR10, CIFAR100, tiny-imagenet or digits.", group="training")
    data_path: str | None = setting(
        None,
        "Folder that holds the TFDS data sets, or Tiny-ImageNet.",
        if_none="TFDS's own",
        group="training",
    )
    fraction: float = setting(
        1.0,
        "Fraction of the training images that all runs use, the same one of every class.",
        group="training",
        above=0,
        at_most=1,
    )
    density: float = setting(0.05, "Fraction of the prunable weights that is kept.", group="checks", above=0, at_most=1)
    epochs: int = setting(160, "Epochs of each training, dense ones included.", group="training", at_least=1)
    milestones: tuple[int, ...] | None = setting(
        None,
        "Epochs at which the learning rate is divided by 10.",
        if_none="half and three quarters of them",
        group="training",
        above=0,
        distinct=True,
    )
    learning_rate: float = setting(0.1, "Learning rate.", group="training")
    momentum: float = setting(0.9, "Momentum.", group="training")
    weight_decay: float = setting(1e-4, "L2 coefficient.", group="training")
    batch_size: int = setting(64, "Batch size of training.", group="training", at_least=1)
    prune_iters: int = setting(100, "Rounds in which synflow prunes.", group="checks")
    samples_per_class: int = setting(10, "Images of each class that snip and grasp use.", group="checks")
    precision: Literal["float32", "mixed_bfloat16"] = setting(
        "float32", "Number format of training: float32 or mixed_bfloat16.", group="run"
    )
    compile: Literal["auto", "on", "off"] = setting("auto", "XLA: on, off, or auto.", group="run")
    gpu_id: tuple[int, ...] = setting((0,), "GPUs to use, by index.", group="run", nonempty=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("methods", (*UNTRAINED, *TRAINED)), ("checks", CHECKS)):
            given = getattr(self, name)
            right = bool(given) and set(given) <= set(known) and len(set(given)) == len(given)
            require(right, name, f"different ones of {', '.join(known)}", given)
        if self.resume and self.overwrite:
            raise ConfigError("--resume continues runs and --overwrite removes them: give one of them")

    @property
    def drops(self) -> tuple[int, ...]:
        """Epochs at which the learning rate drops."""
        if self.milestones is not None:
            return self.milestones
        return usual_milestones(self.epochs)

    @property
    def folder(self) -> Path:
        """The folder of all runs."""
        return Path(self.train_path or f"runs/sanity/{self.arch}-{self.dataset}-{self.density:g}")

    def applies(self, method: str, check: str) -> bool:
        """Returns whether a check applies to a method."""
        if check in OF_DATA:
            return method in WITH_DATA
        return not (check == "inverse" and method in ("smart_ratio", "random"))

    def check_files(self) -> None:
        """Checks nothing: the data are read later."""
