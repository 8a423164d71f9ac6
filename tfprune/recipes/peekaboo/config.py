"""The settings of Peek-a-Boo, whose fields are the flags and the YAML keys, and of its two stages on ImageNet."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.files import check_output
from tfprune.recipes.catalog import register_method
from tfprune.recipes.run_config import RunConfig, Stem
from tfprune.settings import Settings, require, same_setting, setting

Optimizer = Literal["BOP", "SGD"]
Scope = Literal["global", "local"]
Schedule = Literal["exponential", "linear"]
GraSPVariant = Literal["wang", "peekaboo"]
_PSG = "predictive sign gradients"
_PSG_ONLY = (
    "psg_input_bits",
    "psg_gradient_bits",
    "psg_relative_threshold",
    "psg_absolute_threshold",
    "psg_sparsify",
)


@dataclass(frozen=True)
class PeekabooConfig(RunConfig):
    """Peek-a-Boo: prunes a model before training, then trains the signs of the kept weights.

    The defaults are the published commands for CIFAR-10 and for ImageNet without PSG, which
    `configs/peekaboo/cifar10_resnet18.yaml` and `imagenet_resnet50.yaml` add. On ImageNet the learning rate is for
    batches of 256 and grows with the batch size, and `ar` drops an epoch early, as in the authors'
    `main_imagenet_train.py`. What is pruned is what the authors' models prune, see `docs/scopes.md`.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = (*RunConfig.HELP_ORDER, "pruning")

    method: Literal["peekaboo"] = "peekaboo"
    train_path: str | None = setting(
        None, if_none="a folder under `runs/peekaboo` named after architecture, data set, pruner and density"
    )
    seed: int = setting(0, "Seed of initial weights, pruning images, data order and augmentation.", at_least=0)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = setting(
        "float32",
        "Number format of training: float32, mixed_bfloat16 or mixed_float16 (with a scaled loss). Signs and Bop's "
        "state stay float32.",
    )
    arch: str = setting(
        "ResNet-18",
        "Architecture, such as ResNet-18, ResNet-20, WideResNet-28-10; the original's VGG16 is VGG-16-maxpool, its "
        "Conv4 Conv4-BN. `docs/models.md` lists them all.",
        group="data and model",
    )
    init_method: str = setting(
        "kaiming_normal",
        "Initial weights of the convolutions: standard, kaiming_normal, kaiming_uniform, kaiming_laplace, "
        "kaiming_constant_signed, kaiming_constant_unsigned, xavier_normal or xavier_constant.",
        group="data and model",
    )
    trained_param: str | None = setting(
        None,
        "Model to start from instead: a `.keras` file of the same architecture.",
        group="data and model",
        path="file",
    )
    masks: str | None = setting(
        None,
        "Masks to train with instead of pruning: an `.npz` file. One that `train_imagenet.py prune` wrote holds the "
        "initial weights to start from, too; masks alone, such as `tfprune prune` writes, go with the initial weights "
        "that `seed` and `init_method` give.",
        group="data and model",
        path="file",
    )
    pruner: str = setting(
        "SynFlow",
        "Criterion that prunes: SynFlow, SNIP, GraSP, Mag, random, grad_norm or fisher; none for no pruning.",
        group="pruning",
    )
    density: float = setting(0.3, "Fraction of the prunable weights that is kept.", group="pruning", above=0, at_most=1)
    prune_iters: int = setting(100, "Rounds of scoring and pruning, each to a lower density.", group="pruning", above=0)
    prune_schedule: Schedule = setting(
        "exponential", "How the density falls over the rounds: exponential or linear.", group="pruning"
    )
    prune_scope: Scope = setting(
        "global",
        "Whether weights are compared over the whole model (global) or in each layer (local).",
        group="pruning",
    )
    grasp_variant: GraSPVariant = setting(
        "wang",
        "How GraSP runs the model: wang (as its authors do, with the statistics of the batch) or peekaboo (batch norms "
        "use their moving averages, as in the original; far worse).",
        group="pruning",
    )
    prune_images: int = setting(
        100, "Training images that SNIP, GraSP and similar criteria use.", group="pruning", above=0
    )
    prune_balanced: bool = setting(False, "Take equally many of these from each class.", group="pruning")
    prune_batch_size: int | None = setting(
        None,
        "The most of these images for which gradients are computed at the same time; this bounds the memory. It "
        "changes masks only where batch norms use the statistics of the batch, as with GraSP.",
        if_none="as many as need about 5 GB",
        group="pruning",
        above=0,
    )
    prune_epoch: int = setting(
        0, "Epoch before which the (last) pruning happens; 0 for before training.", group="pruning", at_least=0
    )
    prune_shots: int = setting(
        1,
        "Prunings, evenly spaced, the last one before `prune_epoch`; each removes equally many weights.",
        group="pruning",
        above=0,
    )
    prune_classifier: bool | None = setting(
        None,
        "Prune the last dense layer, too.",
        if_none="as the original: that of models without shortcuts (VGG, Conv), and on ImageNet",
        group="pruning",
    )
    prune_shortcuts: bool = setting(
        True, "Prune the 1x1 convolutions of shortcuts, too; the original does not on ImageNet.", group="pruning"
    )
    original_ties: bool = setting(
        False,
        "Remove all weights that tie at the threshold, and round, as the original does, instead of the exact number.",
        group="pruning",
    )
    optimizer: Optimizer = setting(
        "BOP",
        "BOP trains the signs of the convolutions, and the rest with SGD; SGD trains everything.",
        group="training",
    )
    ar: float = setting(1e-3, "Bop's adaptivity rate, between 0 and 1.", group="training", above=0, below=1)
    tau: float = setting(1e-6, "Bop's threshold, at least 0.", group="training", at_least=0)
    ar_decay_freq: int = setting(45, "Epochs between two drops of `ar`.", group="training", above=0)
    ar_decay_ratio: float = setting(0.15, "Factor of each drop of `ar`.", group="training", above=0)
    learning_rate: float = setting(
        0.1,
        "Learning rate of SGD; on ImageNet for batches of 256, and proportional to batch_size.",
        group="training",
        above=0,
    )
    momentum: float = setting(0.9, "Momentum of SGD.", group="training", at_least=0, below=1)
    weight_decay: float = setting(5e-4, "L2 coefficient of SGD, added to the gradients.", group="training", at_least=0)
    milestones: tuple[int, ...] = setting(
        (80, 120), "Epochs at which the learning rate is divided by 10.", group="training", above=0, distinct=True
    )
    epochs: int = setting(180, "Epochs of training; 0 stops after pruning.", group="training", at_least=0)
    psg: bool = setting(
        False,
        "Compute the gradients of the kernels from quantized tensors (predictive sign gradients).",
        group=_PSG,
    )
    psg_input_bits: int = setting(8, "Bits of a layer's input for that.", group=_PSG, at_least=2, at_most=32)
    psg_gradient_bits: int = setting(16, "Bits of the gradient at its output.", group=_PSG, at_least=2, at_most=32)
    psg_relative_threshold: float = setting(
        0.0,
        "Gradients below this fraction of the largest one of a kernel count as small.",
        group=_PSG,
        at_least=0,
    )
    psg_absolute_threshold: float | None = setting(
        None,
        "Gradients below this count as small; replaces the relative threshold.",
        group=_PSG,
        at_least=0,
    )
    psg_sparsify: bool = setting(
        False,
        "Set small gradients to 0; without it they are taken from the tensors before quantization.",
        group=_PSG,
    )
    psg_take_sign: bool = setting(True, "Keep only the signs of the gradients.", group=_PSG)
    psg_quantize: bool = setting(True, "Quantize at all; without it only `psg_take_sign` is left of PSG.", group=_PSG)

    def __post_init__(self) -> None:
        super().__post_init__()
        early = self.ar_epochs_early
        late = self.ar_decay_freq > early
        require(late, "ar_decay_freq", f"more than the {early} by which drops come early", self.ar_decay_freq)
        self._check_psg()
        self._check_pruning()

    @property
    def prunes(self) -> bool:
        """Whether a criterion is to prune."""
        return self.pruner.lower() != "none" and self.masks is None

    @property
    def base_learning_rate(self) -> float:
        """Learning rate of the first epochs, for this batch size."""
        return self.learning_rate * self.batch_size / 256 if self.on_disk else self.learning_rate

    @property
    def ar_epochs_early(self) -> int:
        """By how many epochs the drops of `ar` come early."""
        return 1 if self.on_disk else 0

    def _check_psg(self) -> None:
        if self.psg and self.precision == "mixed_float16" and (self.psg_take_sign or self.psg_absolute_threshold):
            raise ConfigError(
                "--precision: expected float32 or mixed_bfloat16 with --psg, received mixed_float16: signs and "
                "absolute thresholds of gradients do not scale with the loss"
            )
        if self.psg_absolute_threshold is not None and self.psg_relative_threshold:
            raise ConfigError(
                "--psg_relative_threshold and --psg_absolute_threshold exclude each other: give one of them"
            )
        if not self.psg and (changed := self.changed(_PSG_ONLY)):
            raise ConfigError(f"--{changed[0]} does nothing without --psg: add --psg, or leave it out")

    def _check_pruning(self) -> None:
        if self.grasp_variant != "wang" and self.pruner.lower() != "grasp":
            raise ConfigError(f"--grasp_variant does nothing with --pruner {self.pruner}: leave it out, or take GraSP")
        if self.prune_shots > 1 and self.prune_epoch < self.prune_shots:
            raise ConfigError(
                f"--prune_shots: expected at most one per epoch before --prune_epoch {self.prune_epoch}, received "
                f"{self.prune_shots}; raise --prune_epoch"
            )
        if self.prune_epoch and self.prune_epoch >= self.epochs:
            raise ConfigError(
                f"--prune_epoch: expected an epoch before the last of {self.epochs}, received {self.prune_epoch}"
            )
        if self.masks is not None and self.prune_epoch:
            raise ConfigError("--masks holds from the start: leave out --prune_epoch")


TrainImageNetConfig: Any = register_method(
    PeekabooConfig,
    imagenet={
        "arch": "ResNet-50",
        "density": 0.5,
        "prune_classifier": True,
        "prune_shortcuts": False,
        "ar_decay_freq": 30,
        "weight_decay": 1e-4,
        "milestones": (30, 60, 90),
        "epochs": 100,
    },
).imagenet_config
"""Peek-a-Boo on ImageNet: prunes a model and trains the signs of the kept weights, or trains one pruned before."""


@dataclass(frozen=True)
class PruneImageNetConfig(Settings):
    """Prunes a model before its training and writes masks and initial weights to one file.

    The settings are those of `TrainImageNetConfig` that pruning needs.
    """

    data_path: str = same_setting(TrainImageNetConfig, "data_path")
    out: str = setting(help="File to write, `.npz`.", group="result")
    overwrite: bool = setting(False, "Replace an existing file.", group="result")
    plugin: tuple[str, ...] = same_setting(TrainImageNetConfig, "plugin")
    seed: int = setting(
        0, "Seed of initial weights and of the images used for pruning.", group="data and model", at_least=0
    )
    dataset: str = same_setting(TrainImageNetConfig, "dataset")
    image_size: int = same_setting(TrainImageNetConfig, "image_size")
    arch: str = same_setting(TrainImageNetConfig, "arch")
    stem: Stem = same_setting(TrainImageNetConfig, "stem")
    init_method: str = same_setting(TrainImageNetConfig, "init_method")
    trained_param: str | None = same_setting(TrainImageNetConfig, "trained_param")
    pruner: str = setting(
        "SynFlow",
        "Criterion: SynFlow, SNIP, GraSP, Mag, random, grad_norm or fisher.",
        group="pruning",
    )
    density: float = same_setting(TrainImageNetConfig, "density")
    prune_iters: int = same_setting(TrainImageNetConfig, "prune_iters")
    prune_schedule: Schedule = same_setting(TrainImageNetConfig, "prune_schedule")
    prune_scope: Scope = same_setting(TrainImageNetConfig, "prune_scope")
    grasp_variant: GraSPVariant = same_setting(TrainImageNetConfig, "grasp_variant")
    prune_images: int = same_setting(TrainImageNetConfig, "prune_images")
    prune_balanced: bool = same_setting(TrainImageNetConfig, "prune_balanced")
    prune_batch_size: int | None = same_setting(TrainImageNetConfig, "prune_batch_size")
    prune_classifier: bool | None = same_setting(TrainImageNetConfig, "prune_classifier")
    prune_shortcuts: bool = same_setting(TrainImageNetConfig, "prune_shortcuts")
    original_ties: bool = same_setting(TrainImageNetConfig, "original_ties")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.training()
        if self.pruner.lower() == "none":
            raise ConfigError("--pruner: expected a criterion to prune by, received none")
        check_output(self.out, suffix=".npz", overwrite=self.overwrite)

    def training(self) -> PeekabooConfig:
        """Returns the config of a training that would prune in the same way.

        Raises:
            ConfigError: There is no such training.
        """
        own = {"out", "overwrite"}
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        return TrainImageNetConfig(resize_size=max(256, self.image_size), **values)
