"""The settings of Peek-a-Boo: one frozen dataclass, whose fields are the flags and the YAML keys."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.recipes.run_config import RunConfig

Optimizer = Literal["BOP", "SGD"]
Scope = Literal["global", "local"]
Schedule = Literal["exponential", "linear"]
GraSPVariant = Literal["wang", "peekaboo"]
_PSG_ONLY = "psg_input_bits psg_gradient_bits psg_relative_threshold psg_absolute_threshold psg_sparsify"


@dataclass(frozen=True)
class PeekabooConfig(RunConfig):
    """Settings of Peek-a-Boo: prune a network before training, then train the signs of what is left.

    The defaults are the published recipe for CIFAR-10 without PSG; all of it is
    `configs/peekaboo/cifar10_resnet18.yaml`.

    Attributes:
        method: `peekaboo`; what `train_cifar.py` is to do. The default there is `ekg`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default: a folder under
            `runs/peekaboo` named after architecture, data set, pruner and density.
        seed: Seed of initial weights, pruning images, data order and augmentation.
        precision: Number format of training: float32, mixed_bfloat16 or mixed_float16 (with a scaled loss). Signs and
            Bop's state stay float32.
        fraction: Fraction of the training images to use, of each class.
        arch: Architecture, such as ResNet-18, ResNet-20, WideResNet-28-10; the original's VGG16 is VGG-16-maxpool, its
            Conv4 Conv4-BN. `docs/models.md` lists them all.
        init_method: Initial weights of the convolutions: standard, kaiming_normal, kaiming_uniform, kaiming_laplace,
            kaiming_constant_signed, kaiming_constant_unsigned, xavier_normal or xavier_constant.
        trained_param: Network to start from instead: a `.keras` file of the same architecture.
        masks: Masks to train with instead of pruning: an `.npz` file, such as `tfprune prune` writes.
        pruner: Criterion that prunes: SynFlow, SNIP, GraSP, Mag, random, grad_norm or fisher; none for no pruning.
        density: Fraction of the prunable weights that is kept.
        prune_iters: Rounds of scoring and pruning, each a little further.
        prune_schedule: How the density falls over the rounds: exponential or linear.
        prune_scope: Whether weights are compared over the whole network (global) or layer by layer (local).
        grasp_variant: How GraSP looks at the network: wang (its authors' way, with the statistics of the batch) or
            peekaboo (batch norms on their moving averages, as the original has it; far worse).
        prune_images: Training images that SNIP, GraSP and the like look at.
        prune_balanced: Take as many of these from each class, rather than any.
        prune_batch_size: Images per batch of these.
        prune_epoch: Epoch before which the (last) pruning happens; 0 for before training.
        prune_shots: Prunings on the way to `prune_epoch`, evenly spaced, each to a lower density.
        prune_classifier: Prune the last dense layer, too. The originals do for VGG and for ImageNet.
        original_ties: Remove all weights that tie at the threshold, as the original does, instead of exactly so many.
        optimizer: BOP trains the signs of the convolutions, and the rest with SGD; SGD trains everything.
        ar: Bop's adaptivity rate, between 0 and 1.
        tau: Bop's threshold, at least 0.
        ar_decay_freq: Epochs between two drops of `ar`.
        ar_decay_ratio: Factor of each drop of `ar`.
        learning_rate: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: L2 coefficient of SGD, added to the gradients.
        milestones: Epochs at which the learning rate is divided by 10.
        epochs: Epochs of training; 0 stops after pruning.
        psg: Compute the gradients of the kernels from quantised tensors (predictive sign gradients).
        psg_input_bits: Bits of a layer's input for that.
        psg_gradient_bits: Bits of the gradient at its output.
        psg_relative_threshold: Gradients below this fraction of a kernel's largest one count as small.
        psg_absolute_threshold: Gradients below this count as small; in place of the relative threshold.
        psg_sparsify: Small gradients become 0; without it they are taken from the tensors before quantisation.
        psg_take_sign: Keep only the signs of the gradients.
        psg_quantize: Quantise at all; without it only `psg_take_sign` is left of PSG.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        **RunConfig.GROUPS,
        "data and network": "dataset data_path fraction arch stem init_method trained_param masks",
        "pruning": "pruner density prune_iters prune_schedule prune_scope grasp_variant prune_images prune_balanced "
        "prune_batch_size prune_epoch prune_shots prune_classifier original_ties",
        "training": "optimizer ar tau ar_decay_freq ar_decay_ratio learning_rate momentum weight_decay milestones "
        "epochs batch_size val_batch_size",
        "predictive sign gradients": "psg psg_input_bits psg_gradient_bits psg_relative_threshold "
        "psg_absolute_threshold psg_sparsify psg_take_sign psg_quantize",
    }

    POSITIVE: ClassVar[str] = (
        f"{RunConfig.POSITIVE} prune_iters prune_images prune_batch_size prune_shots ar_decay_freq ar_decay_ratio "
        "learning_rate"
    )
    NOT_NEGATIVE: ClassVar[str] = (
        f"{RunConfig.NOT_NEGATIVE} tau momentum weight_decay epochs prune_epoch psg_relative_threshold"
    )
    AR_EPOCHS_EARLY: ClassVar[int] = 0

    method: Literal["peekaboo"] = "peekaboo"
    fraction: float = 1.0
    arch: str = "ResNet-18"
    init_method: str = "kaiming_normal"
    trained_param: str | None = None
    masks: str | None = None
    pruner: str = "SynFlow"
    density: float = 0.3
    prune_iters: int = 100
    prune_schedule: Schedule = "exponential"
    prune_scope: Scope = "global"
    grasp_variant: GraSPVariant = "wang"
    prune_images: int = 100
    prune_balanced: bool = False
    prune_batch_size: int = 256
    prune_epoch: int = 0
    prune_shots: int = 1
    prune_classifier: bool = False
    original_ties: bool = False
    optimizer: Optimizer = "BOP"
    ar: float = 1e-3
    tau: float = 1e-6
    ar_decay_freq: int = 45
    ar_decay_ratio: float = 0.15
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (80, 120)
    epochs: int = 180
    psg: bool = False
    psg_input_bits: int = 8
    psg_gradient_bits: int = 16
    psg_relative_threshold: float = 0.0
    psg_absolute_threshold: float | None = None
    psg_sparsify: bool = False
    psg_take_sign: bool = True
    psg_quantize: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.density <= 1, "density", "a fraction of the weights to keep, above 0 and at most 1")
        self._require(0 < self.fraction <= 1, "fraction", "a fraction of the images, above 0 and at most 1")
        self._require(0 < self.ar < 1, "ar", "a rate between 0 and 1")
        self._require(self.momentum < 1, "momentum", "a value below 1")
        self._require(all(point > 0 for point in self.milestones), "milestones", "epochs above 0")
        self._check_psg()
        self._check_pruning()

    @property
    def prunes(self) -> bool:
        """Whether a criterion is to prune."""
        return self.pruner.lower() != "none" and self.masks is None

    @property
    def base_learning_rate(self) -> float:
        """Learning rate of the first epochs."""
        return self.learning_rate

    def _check_psg(self) -> None:
        if self.psg and self.precision == "mixed_float16" and (self.psg_take_sign or self.psg_absolute_threshold):
            raise ConfigError(
                "--precision: expected float32 or mixed_bfloat16 with --psg, received mixed_float16: signs and "
                "absolute thresholds of gradients do not scale with the loss"
            )
        for name in ("psg_input_bits", "psg_gradient_bits"):
            self._require(2 <= getattr(self, name) <= 32, name, "2 to 32 bits")
        if self.psg_absolute_threshold is not None:
            self._require(self.psg_absolute_threshold >= 0, "psg_absolute_threshold", "a value of at least 0")
            if self.psg_relative_threshold:
                raise ConfigError(
                    "--psg_relative_threshold and --psg_absolute_threshold exclude each other: give one of them"
                )
        if self.psg:
            return
        defaults = {field.name: field.default for field in fields(self)}
        changed = [name for name in _PSG_ONLY.split() if getattr(self, name) != defaults[name]]
        if changed:
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
