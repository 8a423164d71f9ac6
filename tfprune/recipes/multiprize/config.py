"""The settings of multi-prize tickets, whose fields are the flags and the YAML keys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, Literal

from tfprune.errors import ConfigError
from tfprune.recipes.catalog import register_method
from tfprune.recipes.run_config import RunConfig
from tfprune.settings import require, setting

Scope = Literal["layer", "global"]
Selection = Literal["top", "sampled", "fixed"]
BatchNorms = Literal["auto", "affine", "fixed"]
ScaleFan = Literal["off", "density", "sparsity"]
Mode = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["relu", "leaky_relu", "tanh", "sigmoid", "selu", "linear"]
Optimizer = Literal["sgd", "adam"]
Policy = Literal[
    "constant",
    "cosine",
    "multistep",
    "xnor",
    "mpt132_w34_2",
    "mpt11_w34_2_v2",
    "mpt11_w18_2",
    "mpt11_w18_2_v2",
    "cos_multi",
]
_GAINS = {
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "tanh": 5 / 3,
    "sigmoid": 1.0,
    "selu": 3 / 4,
    "linear": 1.0,
}
_SUBNET, _VIEWS = "sub-network", "views of images"
_SUBNET_ONLY = (
    "density",
    "scope",
    "selection",
    "density_ramp_epochs",
    "score_init_constant",
    "first_layer_dense",
    "last_layer_dense",
    "learn_batchnorm",
    "bias_only",
    "tune_batchnorm",
    "original_quirks",
)


@dataclass(frozen=True)
class MultiPrizeConfig(RunConfig):
    """Multi-prize tickets: finds an accurate binary sub-network of a random model without training weights.

    The defaults are the authors' recipe for the Conv models on CIFAR-10, and for ResNet-50 on ImageNet;
    `configs/multiprize` has all of theirs.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = (*RunConfig.HELP_ORDER, _SUBNET, _VIEWS)

    method: Literal["multiprize"] = "multiprize"
    train_path: str | None = setting(
        None,
        if_none="`<log_dir>/<experiment>/density=<density>/<name>`; if that exists, a numbered folder in it for each "
        "further run",
    )
    log_dir: str = setting(
        "runs",
        "Folder that holds the default folders of all runs, and a table of their results.",
        group="run",
        recorded=False,
    )
    experiment: str | None = setting(
        None,
        "Name of the experiment, the first level of the default folder.",
        if_none="the name of the last --config file without its ending; multiprize without one",
        group="run",
        from_file_name=True,
    )
    name: str | None = setting(
        None,
        "Name of the run, the last level of the default folder; must be given here or by the file.",
        group="run",
    )
    evaluate: bool = setting(
        False,
        "Only measure the accuracy of --pretrained; nothing is trained or written.",
        group="run",
        recorded=False,
    )
    pretrained: str | None = setting(
        None,
        "Model to start from: a `.keras` file of ours, or a checkpoint (`.pth`, `.state`) of the authors. Checkpoints "
        "from before February 2022 need the --density and --scope that they were trained with.",
        group="run",
        path="file",
    )
    save_every: int = setting(
        0,
        "Epochs between two models that are kept, besides the first, the best and the last; 0 for no others.",
        group="run",
        at_least=0,
    )
    histograms: bool = setting(
        False,
        "Also write histograms of all variables and their gradients for TensorBoard after each epoch.",
        group="run",
    )
    seed: int = setting(0, "Seed of weights, scores, data order and augmentation.", at_least=0)
    dataset: str = setting("CIFAR10", "Data set: CIFAR10, CIFAR100, mnist or digits (included, no download).")
    arch: str = setting(
        "Conv4",
        "Architecture, such as Conv4, VGG-Small-BN, ResNet-18, WideResNet-34-2. `docs/models.md` lists them all.",
        group="data and model",
    )
    final_pool: int | None = setting(
        None,
        "Side of the patches that a ResNet averages over. With 4 the ResNets of 16, 32 and 64 channels have 40 logits, "
        "as the authors' have.",
        if_none="the whole map",
        group="data and model",
        above=0,
    )
    width_multiplier: float = setting(1.0, "Factor of all widths.", group="data and model", above=0)
    binary_activations: bool = setting(
        False,
        "Use signs as activations instead of ReLU (MPT-1/1); otherwise only the weights are binary (MPT-1/32).",
        group="data and model",
    )
    batch_norm: BatchNorms = setting(
        "auto",
        "Batch norms with scale and offset (affine) or without (fixed); auto: with them if they are trained. If they "
        "are not trained, both are the same model.",
        group="data and model",
    )
    init: str = setting(
        "kaiming_normal",
        "Initial weights, which a sub-network keeps: kaiming_normal, signed_constant, unsigned_constant, "
        "kaiming_uniform, xavier_normal, xavier_constant, standard, bernoulli, usc_bernoulli or ones.",
        group="data and model",
    )
    mode: Mode = setting(
        "fan_in", "The fan that their scale is computed from: fan_in or fan_out.", group="data and model"
    )
    nonlinearity: Nonlinearity = setting("relu", "The function whose gain they have.", group="data and model")
    scale_fan: ScaleFan = setting(
        "off",
        "Factor of that fan: off is 1, density preserves the variance of a layer's outputs, sparsity (1 - density) is "
        "what the authors' code uses.",
        group="data and model",
    )
    dense: bool = setting(False, "Train the weights of the whole model instead, for comparison.", group=_SUBNET)
    density: float | None = setting(
        None,
        "Fraction of the weights that is kept; must be given for training unless --dense.",
        group=_SUBNET,
        above=0,
        at_most=1,
    )
    scope: Scope = setting(
        "layer",
        "Whether the largest scores are selected in each layer (layer) or among all layers (global).",
        group=_SUBNET,
    )
    density_ramp_epochs: int | None = setting(
        None,
        "Epochs in which the density falls from a half; 0 for none.",
        if_none="10 with the scope global, the only one that has a ramp",
        group=_SUBNET,
        at_least=0,
    )
    selection: Selection = setting(
        "top",
        "Which weights are kept: those with the largest scores (top), each with the probability sigmoid(score) at "
        "every step (sampled), or permanently those that the initial scores select (fixed).",
        group=_SUBNET,
    )
    score_init_constant: float | None = setting(
        None,
        "Initial scores of the selection sampled.",
        if_none="uniform in ±1/√fan_in",
        group=_SUBNET,
    )
    first_layer_dense: bool = setting(
        False, "Exclude the first layer from the selection, and train its weights.", group=_SUBNET
    )
    last_layer_dense: bool = setting(
        False, "Exclude the last layer from the selection, give it a bias, and train it.", group=_SUBNET
    )
    learn_batchnorm: bool = setting(False, "Also train scales and offsets of batch norms, and biases.", group=_SUBNET)
    bias_only: bool = setting(False, "Train offsets and biases, but not the scales.", group=_SUBNET)
    tune_batchnorm: bool = setting(
        False,
        "Train what --learn_batchnorm or --bias_only names, and no scores: the second stage after --pretrained.",
        group=_SUBNET,
    )
    original_quirks: bool = setting(
        False,
        "Divide the sum of the kept weights by trunc(density * size) for their mean, as the authors' code does; in "
        "most layers this is one less than the number of kept weights.",
        group=_SUBNET,
    )
    gaussian_noise: bool = setting(False, "Train on images with noise added.", group=_VIEWS)
    noise_deviation: float = setting(
        0.1, "Standard deviation of the noise, where 1 is the range of a pixel.", group=_VIEWS, above=0
    )
    noise_clean: float = setting(0.0, "Probability that an image gets no noise.", group=_VIEWS, at_least=0, below=1)
    augmix: bool = setting(False, "Train on images mixed with distorted copies of themselves (AugMix).", group=_VIEWS)
    augmix_severity: float = setting(
        3.0, "Strength of the distortions, up to 10.", group=_VIEWS, at_least=0.1, at_most=10
    )
    augmix_width: int = setting(
        3, "Distorted copies of an image, each made by a chain of distortions.", group=_VIEWS, above=0
    )
    augmix_depth: int = setting(0, "Distortions of a chain; 0 for one to three.", group=_VIEWS, at_least=0)
    all_augmix: bool = setting(False, "Also change colors, contrast, brightness and sharpness.", group=_VIEWS)
    jsd: bool = setting(
        False,
        "Train on three views of each image, one unchanged, with a loss that makes the predictions for them agree "
        "(Jensen-Shannon).",
        group=_VIEWS,
    )
    optimizer: Optimizer = setting(
        "sgd", "sgd or adam; it trains the scores, or the weights of a dense model.", group="training"
    )
    learning_rate: float = setting(0.1, "Learning rate.", group="training", above=0)
    lr_policy: Policy = setting(
        "cosine",
        "How it changes: constant, cosine, multistep, or by one of the authors' tables of fixed epochs.",
        group="training",
    )
    warmup_epochs: int = setting(
        0, "Epochs at the start in which it grows, with constant and cosine.", group="training", at_least=0
    )
    lr_adjust: int = setting(20, "Epochs between two drops of multistep.", group="training", above=0)
    lr_gamma: float = setting(0.1, "Factor of each drop.", group="training", above=0)
    momentum: float = setting(0.9, "Momentum of SGD.", group="training", at_least=0, below=1)
    nesterov: bool = setting(False, "Use Nesterov's momentum for SGD.", group="training")
    weight_decay: float = setting(
        1e-4, "L2 coefficient of SGD, added to the gradients; Adam has none.", group="training", at_least=0
    )
    bn_decay: bool = setting(True, "Also decay the scales and offsets of batch norms.", group="training")
    grad_clip: bool = setting(False, "Clip each element of a gradient to [-1, 1].", group="training")
    label_smoothing: float = setting(
        0.0, "Fraction of each label that is spread over all classes.", group="training", at_least=0, below=1
    )
    epochs: int = setting(100, "Epochs of training.", group="training", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("name", "experiment"):
            value = getattr(self, name)
            plain = value is None or (PurePath(value).name == value and value not in ("", ".."))
            require(plain, name, "the name of a folder, without a slash", value)
        self._check_run()
        if self.dense:
            self._check_dense()
        else:
            self._check_subnet()
        self._check_views()
        self._check_optimizer()

    @property
    def kept(self) -> float:
        """Fraction of the weights that is kept at the end: the density, 1 for a dense model."""
        return 1.0 if self.density is None else self.density

    @property
    def ramp_epochs(self) -> int:
        """Epochs in which the density falls from a half."""
        if self.density_ramp_epochs is not None:
            return self.density_ramp_epochs
        return 10 if self.scope == "global" else 0

    @property
    def gain(self) -> float:
        """Gain of the initial weights."""
        return _GAINS[self.nonlinearity]

    @property
    def fan_scale(self) -> float:
        """Factor of the fan of the initial weights."""
        return {"off": 1.0, "density": self.kept, "sparsity": 1 - self.kept}[self.scale_fan]

    @property
    def affine(self) -> bool:
        """Whether batch norms have a scale and an offset."""
        trained = self.dense or self.learn_batchnorm or self.bias_only
        return trained if self.batch_norm == "auto" else self.batch_norm == "affine"

    @property
    def default_path(self) -> str:
        """The run's folder if none is given; if it exists, further runs have numbered folders in it."""
        return f"{self.log_dir}/{self.experiment or self.method}/density={self.kept:g}/{self.name}"

    def _check_run(self) -> None:
        if self.evaluate and self.pretrained is None:
            raise ConfigError("--evaluate needs a model to measure: give it by --pretrained")
        if self.name is None and self.train_path is None and not self.evaluate:
            raise ConfigError("--name is missing: name the run, which gives its folder, or give --train_path")

    def _check_dense(self) -> None:
        self._refuse(_SUBNET_ONLY, "with --dense, where all weights are trained")
        if self.scale_fan != "off":
            raise ConfigError(f"--scale_fan {self.scale_fan} does nothing with --dense: leave one of them out")

    def _check_subnet(self) -> None:
        if self.density is None and not self.evaluate:
            raise ConfigError("--density is missing: give the fraction of the weights to keep, or --dense")
        if self.scale_fan == "sparsity" and self.density == 1:
            raise ConfigError("--scale_fan sparsity is 0 with --density 1: use density or off")
        if self.scope == "global":
            if self.selection != "top":
                raise ConfigError(f"--scope global selects the largest scores: leave out --selection {self.selection}")
        elif self.density_ramp_epochs:
            raise ConfigError("--density_ramp_epochs does nothing with --scope layer: add --scope global")
        if self.selection != "sampled":
            self._refuse(("score_init_constant",), "without --selection sampled")
        if 0 < self.epochs <= self.ramp_epochs and self.kept < 0.5 and not self.evaluate:
            raise ConfigError(
                f"--density_ramp_epochs: expected fewer than all {self.epochs} epochs, as the density is reached only "
                f"then, received {self.ramp_epochs}; lower it or raise --epochs"
            )
        self._check_trained()

    def _check_trained(self) -> None:
        if self.learn_batchnorm and self.bias_only:
            raise ConfigError("--bias_only trains less than --learn_batchnorm: give one of them")
        learns = self.learn_batchnorm or self.bias_only
        if self.tune_batchnorm and not learns:
            raise ConfigError("--tune_batchnorm does nothing alone: add --learn_batchnorm or --bias_only")
        if learns and self.batch_norm == "fixed":
            raise ConfigError("--batch_norm fixed has no scales and offsets to train: leave it out, or use affine")
        if self.selection == "fixed" and not learns and not self.evaluate:
            raise ConfigError("--selection fixed leaves nothing to train: add --learn_batchnorm or --bias_only")

    def _check_views(self) -> None:
        if self.augmix and self.gaussian_noise:
            raise ConfigError("--augmix and --gaussian_noise exclude each other: give one of them")
        if self.jsd and not (self.augmix or self.gaussian_noise):
            raise ConfigError("--jsd needs changed views of the images: add --augmix or --gaussian_noise")
        if not self.augmix:
            self._refuse(("augmix_severity", "augmix_width", "augmix_depth", "all_augmix"), "without --augmix")
        if not self.gaussian_noise:
            self._refuse(("noise_deviation", "noise_clean"), "without --gaussian_noise")

    def _check_optimizer(self) -> None:
        if self.optimizer == "adam":
            self._refuse(("momentum", "nesterov", "weight_decay", "bn_decay"), "with --optimizer adam")
        if self.lr_policy not in ("constant", "cosine"):
            self._refuse(("warmup_epochs",), f"with --lr_policy {self.lr_policy}")
        if self.lr_policy != "multistep":
            self._refuse(("lr_adjust", "lr_gamma"), f"with --lr_policy {self.lr_policy}")
        if self.warmup_epochs >= max(self.epochs, 1):
            raise ConfigError(
                f"--warmup_epochs: expected fewer than all {self.epochs} epochs, received {self.warmup_epochs}"
            )

    def _refuse(self, names: Sequence[str], where: str) -> None:
        """Raises an error if one of the settings was changed although it has no effect."""
        if changed := self.changed(names):
            raise ConfigError(f"--{changed[0]} does nothing {where}: leave one of them out")


register_method(
    MultiPrizeConfig,
    imagenet={
        "arch": "ResNet-50",
        "learning_rate": 0.256,
        "warmup_epochs": 5,
        "momentum": 0.875,
        "weight_decay": 2**-15,
        "label_smoothing": 0.1,
    },
)
