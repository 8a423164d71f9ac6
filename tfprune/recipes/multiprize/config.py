"""The settings of multi-prize tickets: one frozen dataclass, whose fields are the flags and the YAML keys."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, Literal

from tfprune.recipes.multiprize.check_together import check_together
from tfprune.recipes.run_config import RunConfig

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


@dataclass(frozen=True)
class MultiPrizeConfig(RunConfig):
    """Settings of multi-prize tickets: find a good binary sub-network of a random network, whose weights stay.

    The defaults are the authors' recipe for the Conv networks on CIFAR-10; `configs/multiprize` has all of theirs.

    Attributes:
        method: `multiprize`; what `train_cifar.py` is to do. The default there is `ekg`.
        train_path: Folder of the run: settings, metrics, checkpoints, models, results. Default:
            `<log_dir>/<experiment>/density=<density>/<name>`, and in it another one for each further run.
        log_dir: Folder that holds the default folders of all runs, and a table of their results.
        experiment: Name of the experiment, the first level of the default folder. Default: the name of the last
            --config file without its ending; multiprize without one.
        name: Name of the run, the last level of the default folder; must be given here or by the file.
        evaluate: Only measure the accuracy of --pretrained; nothing is trained or written.
        pretrained: Network to start from: a `.keras` file of ours, or a checkpoint (`.pth`, `.state`) of the authors.
        save_every: Epochs between two models that are kept, besides the first, the best and the last; 0 for no others.
        histograms: Write histograms of all variables and their gradients for TensorBoard, too, after each epoch.
        seed: Seed of weights, scores, data order and augmentation.
        dataset: Data set: CIFAR10, CIFAR100, mnist or digits (embedded, no download).
        fraction: Fraction of the training images to use, of each class.
        arch: Architecture, such as Conv4, VGG-Small-BN, ResNet-18. `docs/models.md` lists them all.
        final_pool: Side of the patches that a ResNet averages over. Default: the whole map. With 4 the ResNets of
            16, 32 and 64 channels have 40 logits, as the authors' have.
        width_multiplier: Factor of all widths.
        binary_activations: Signs in the place of rectifiers (MPT-1/1), rather than binary weights alone (MPT-1/32).
        batch_norm: Batch norms with scale and offset (affine) or without (fixed); auto: with them where they are
            trained. Without training them both are the same network.
        init: Initial weights, which a sub-network keeps: kaiming_normal, signed_constant, unsigned_constant,
            kaiming_uniform, xavier_normal, xavier_constant, standard, bernoulli, usc_bernoulli or ones.
        mode: The fan that their scale comes from: fan_in or fan_out.
        nonlinearity: The function that their gain is for.
        scale_fan: Factor of that fan: off is 1, density keeps the variance of what a layer gives, sparsity
            (1 - density) is what the authors' code takes.
        dense: Train the weights of the whole network instead: the twin to compare with.
        density: Fraction of the weights that is kept; must be given for training unless --dense.
        scope: Whether the largest scores are picked in each layer or among all layers (global).
        density_ramp_epochs: Epochs in which the density falls from a half; 0 for none. Default: 10 with the scope
            global, the only one that has a ramp.
        selection: Which weights are kept: those of the largest scores (top), each with the chance sigmoid(score) at
            every step (sampled), or for good those that the initial scores say (fixed).
        score_init_constant: Initial scores of the selection sampled. Default: uniform in ±1/√fan_in.
        first_layer_dense: Leave the first layer out of the selection, and train its weights.
        last_layer_dense: Leave the last layer out of the selection, give it a bias, and train it.
        learn_batchnorm: Train scales and offsets of batch norms, and biases, too.
        bias_only: Train offsets and biases, but not the scales.
        tune_batchnorm: Train what the two settings before name, and no scores: the second stage after --pretrained.
        original_quirks: Divide the kept weights' sum by trunc(density * size) for their mean, as the authors' code
            does, in most layers one less than are kept.
        gaussian_noise: Train on images with noise added.
        noise_deviation: Standard deviation of the noise, where 1 is the range of a pixel.
        noise_clean: Chance that an image stays without noise.
        augmix: Train on images mixed with distorted copies of themselves (AugMix).
        augmix_severity: Strength of the distortions, up to 10.
        augmix_width: Distorted copies of an image, each made by a chain of distortions.
        augmix_depth: Distortions of a chain; 0 for one to three.
        all_augmix: Change colours, contrast, brightness and sharpness, too.
        jsd: Train on three views of each image, one clean, and make the answers to them agree (Jensen-Shannon).
        optimizer: sgd or adam; it trains the scores, or the weights where the network is dense.
        learning_rate: Learning rate.
        lr_policy: How it changes: constant, cosine, multistep, or by a table of the authors' of fixed epochs.
        warmup_epochs: Epochs at the start in which it grows, with constant and cosine.
        lr_adjust: Epochs between two drops of multistep.
        lr_gamma: Factor of each.
        momentum: Momentum of SGD.
        nesterov: Nesterov's momentum for SGD.
        weight_decay: L2 coefficient of SGD, added to the gradients; Adam has none.
        bn_decay: Decay the scales and offsets of batch norms, too.
        grad_clip: Clip each element of a gradient to [-1, 1].
        label_smoothing: Share of each label that is spread over all classes.
        epochs: Epochs of training.
    """

    GROUPS: ClassVar[Mapping[str, str]] = {
        "run": f"{RunConfig.GROUPS['run']} log_dir experiment name evaluate pretrained save_every histograms",
        "data and network": "dataset data_path fraction arch stem final_pool width_multiplier binary_activations "
        "batch_norm init mode nonlinearity scale_fan",
        "sub-network": "dense density scope density_ramp_epochs selection score_init_constant first_layer_dense "
        "last_layer_dense learn_batchnorm bias_only tune_batchnorm original_quirks",
        "views of images": "gaussian_noise noise_deviation noise_clean augmix augmix_severity augmix_width "
        "augmix_depth all_augmix jsd",
        "training": "optimizer learning_rate lr_policy warmup_epochs lr_adjust lr_gamma momentum nesterov weight_decay "
        "bn_decay grad_clip label_smoothing epochs batch_size val_batch_size",
    }
    POSITIVE: ClassVar[str] = f"{RunConfig.POSITIVE} width_multiplier learning_rate lr_adjust lr_gamma noise_deviation"
    NOT_NEGATIVE: ClassVar[str] = (
        f"{RunConfig.NOT_NEGATIVE} save_every momentum weight_decay epochs warmup_epochs augmix_depth"
    )
    NAMED_AFTER_FILE: ClassVar[str] = "experiment"

    method: Literal["multiprize"] = "multiprize"
    log_dir: str = "runs"
    experiment: str | None = None
    name: str | None = None
    evaluate: bool = False
    pretrained: str | None = None
    save_every: int = 0
    histograms: bool = False
    fraction: float = 1.0
    arch: str = "Conv4"
    final_pool: int | None = None
    width_multiplier: float = 1.0
    binary_activations: bool = False
    batch_norm: BatchNorms = "auto"
    init: str = "kaiming_normal"
    mode: Mode = "fan_in"
    nonlinearity: Nonlinearity = "relu"
    scale_fan: ScaleFan = "off"
    dense: bool = False
    density: float | None = None
    scope: Scope = "layer"
    density_ramp_epochs: int | None = None
    selection: Selection = "top"
    score_init_constant: float | None = None
    first_layer_dense: bool = False
    last_layer_dense: bool = False
    learn_batchnorm: bool = False
    bias_only: bool = False
    tune_batchnorm: bool = False
    original_quirks: bool = False
    gaussian_noise: bool = False
    noise_deviation: float = 0.1
    noise_clean: float = 0.0
    augmix: bool = False
    augmix_severity: float = 3.0
    augmix_width: int = 3
    augmix_depth: int = 0
    all_augmix: bool = False
    jsd: bool = False
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    lr_policy: Policy = "cosine"
    warmup_epochs: int = 0
    lr_adjust: int = 20
    lr_gamma: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    bn_decay: bool = True
    grad_clip: bool = False
    label_smoothing: float = 0.0
    epochs: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_ranges()
        check_together(self)

    @property
    def kept(self) -> float:
        """Fraction of the weights that is kept at the end: the density, 1 of a dense network."""
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
        """The run's folder where none is given; one that is there already has others in it, by number."""
        return f"{self.log_dir}/{self.experiment or self.method}/density={self.kept:g}/{self.name}"

    def settings(self) -> dict[str, object]:
        """The fields that decide the result, as plain values for a YAML file."""
        return {name: value for name, value in super().settings().items() if name not in ("evaluate", "log_dir")}

    def _check_ranges(self) -> None:
        self._require(0 < self.fraction <= 1, "fraction", "a fraction of the images, above 0 and at most 1")
        self._require(self.momentum < 1, "momentum", "a value below 1")
        self._require(0 <= self.noise_clean < 1, "noise_clean", "a chance, at least 0 and below 1")
        self._require(0.1 <= self.augmix_severity <= 10, "augmix_severity", "a value from 0.1 to 10")
        self._require(self.augmix_width > 0, "augmix_width", "a value above 0")
        self._require(0 <= self.label_smoothing < 1, "label_smoothing", "a value of at least 0 and below 1")
        self._require(self.final_pool is None or self.final_pool > 0, "final_pool", "a value above 0, or None")
        for name in ("name", "experiment"):
            value = getattr(self, name)
            plain = value is None or (PurePath(value).name == value and value not in ("", ".."))
            self._require(plain, name, "the name of a folder, without a slash")
        if self.density is not None:
            self._require(0 < self.density <= 1, "density", "a fraction of the weights to keep, above 0 and at most 1")
        if self.density_ramp_epochs is not None:
            self._require(self.density_ramp_epochs >= 0, "density_ramp_epochs", "a value of at least 0")
