"""The settings of `tfprune sanity`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Literal

from tfprune.commands.checks import at_least_one
from tfprune.errors import ConfigError

UNTRAINED = ("smart_ratio", "snip", "grasp", "synflow", "magnitude", "random")
TRAINED = ("lottery", "partially_trained", "hybrid")
WITH_DATA = ("snip", "grasp", *TRAINED)
CHECKS = ("rearranged", "shuffled", "half_data", "corrupted", "inverse", "reinitialized")
OF_DATA = ("half_data", "corrupted")


@dataclass(frozen=True)
class SanityConfig:
    """Trains tickets, and what sanity checks make of them, and says whether it matters.

    Every combination of methods, checks and seeds is trained in a folder of its own under `runs`. What was done before
    is kept with --resume.

    Attributes:
        train_path: Folder of all runs, the table (sanity.json, sanity.csv) and the plot (sanity.png). Default: a folder
            under `runs/sanity` named after architecture, data set and density.
        resume: Go on with the runs in `train_path`.
        overwrite: Start anew in a `train_path` that already holds runs.
        methods: How tickets are found: smart_ratio, snip, grasp, synflow, magnitude, random; and by magnitude from
            dense training: lottery (goes back to the initial weights), partially_trained (goes on with the trained
            ones), hybrid (likewise, with the counts of the smart ratios).
        checks: What is compared with the original tickets: rearranged (masks permuted in each layer), shuffled (kept
            weights permuted in each layer), half_data and corrupted (found on half of the images, or on random
            labels and shuffled pixels; methods that look at data only), inverse (lowest scores), reinitialized.
        seeds: Number of seeds, from 0 on; at least 2 for a test.
        arch: Architecture, such as ResNet-20 or VGG-19.
        dataset: Data set: CIFAR10, CIFAR100, tiny-imagenet or digits.
        data_path: Folder that holds the TFDS data sets, or Tiny-ImageNet. Default: TFDS's own.
        fraction: Fraction of the training images that all runs use, the same one of every class.
        density: Fraction of the prunable weights that is kept.
        epochs: Epochs of each training, dense ones included.
        milestones: Epochs at which the learning rate is divided by 10. Default: half and three quarters of them.
        learning_rate: Learning rate.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        batch_size: Batch size of training.
        prune_iters: Rounds in which synflow prunes.
        samples_per_class: Images of each class that snip and grasp look at.
        precision: Number format of training: float32 or mixed_bfloat16.
        compile: XLA: on, off, or auto.
        gpu_id: GPUs to use, by index.
    """

    POSITIONAL: ClassVar[str] = ""
    GROUPS: ClassVar[Mapping[str, str]] = {
        "run": "train_path resume overwrite precision compile gpu_id",
        "checks": "methods checks seeds density prune_iters samples_per_class",
        "training": "arch dataset data_path fraction epochs milestones learning_rate momentum weight_decay batch_size",
    }

    train_path: str | None = None
    resume: bool = False
    overwrite: bool = False
    methods: tuple[str, ...] = ("smart_ratio", "snip", "grasp", "partially_trained")
    checks: tuple[str, ...] = ("rearranged", "shuffled", "half_data", "corrupted")
    seeds: int = 3
    arch: str = "ResNet-32"
    dataset: str = "CIFAR10"
    data_path: str | None = None
    fraction: float = 1.0
    density: float = 0.05
    epochs: int = 160
    milestones: tuple[int, ...] | None = None
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    prune_iters: int = 100
    samples_per_class: int = 10
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    compile: Literal["auto", "on", "off"] = "auto"
    gpu_id: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        at_least_one(seeds=self.seeds, epochs=self.epochs, batch_size=self.batch_size)
        for name, known in (("methods", (*UNTRAINED, *TRAINED)), ("checks", CHECKS)):
            given = getattr(self, name)
            wrong = [each for each in given if each not in known]
            if wrong or not given or len(set(given)) < len(given):
                raise ConfigError(
                    f"--{name}: expected different ones of {', '.join(known)}, received {' '.join(given) or 'none'}"
                )
        for name in ("fraction", "density"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"--{name}: expected a value above 0 and at most 1, received {getattr(self, name):g}")
        if self.resume and self.overwrite:
            raise ConfigError("--resume continues runs and --overwrite removes them: give one of them")

    @property
    def drops(self) -> tuple[int, ...]:
        """Epochs at which the learning rate drops."""
        if self.milestones is not None:
            return self.milestones
        return tuple(sorted({epoch for epoch in (self.epochs // 2, self.epochs * 3 // 4) if epoch > 0}))

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.train_path or f"runs/sanity/{self.arch}-{self.dataset}-{self.density:g}")

    def applies(self, method: str, check: str) -> bool:
        """Whether a check says anything about a method."""
        if check in OF_DATA:
            return method in WITH_DATA
        return not (check == "inverse" and method in ("smart_ratio", "random"))

    def settings(self) -> dict[str, object]:
        """The fields that decide the result of every run; methods, checks and seeds may be added to later."""
        elsewhere = {"resume", "overwrite", "train_path", "methods", "checks", "seeds"}
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in elsewhere}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def check_files(self) -> None:
        """Nothing can be checked before the data are read."""
