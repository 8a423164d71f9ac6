"""Settings of multi-prize tickets that contradict each other or do nothing together."""

from dataclasses import fields
from typing import TYPE_CHECKING

from tfprune.errors import ConfigError

if TYPE_CHECKING:
    from tfprune.recipes.multiprize.config import MultiPrizeConfig


_SUBNET_ONLY = (
    "density scope selection density_ramp_epochs score_init_constant first_layer_dense last_layer_dense "
    "learn_batchnorm bias_only tune_batchnorm original_quirks"
)
_NEEDED = {
    "augmix": "augmix_severity augmix_width augmix_depth all_augmix",
    "gaussian_noise": "noise_deviation noise_clean",
}


def check_together(config: "MultiPrizeConfig") -> None:
    """Raises an error if settings contradict each other, or one was changed that has no effect beside the others.

    Args:
        config: A `MultiPrizeConfig` whose settings are in their ranges.

    Raises:
        ConfigError: So it is.
    """
    _check_run(config)
    _check_subnet(config)
    _check_views(config)
    _check_optimizer(config)


def _check_run(config: "MultiPrizeConfig") -> None:
    if config.evaluate and config.pretrained is None:
        raise ConfigError("--evaluate needs a network to measure: give it by --pretrained")
    if config.name is None and config.train_path is None and not config.evaluate:
        raise ConfigError("--name is missing: name the run, which gives its folder, or give --train_path")


def _check_subnet(config: "MultiPrizeConfig") -> None:
    if config.dense:
        _refuse(config, _SUBNET_ONLY, "with --dense, where all weights are trained")
        if config.scale_fan != "off":
            raise ConfigError(f"--scale_fan {config.scale_fan} does nothing with --dense: leave one of them out")
        return
    if config.density is None and not config.evaluate:
        raise ConfigError("--density is missing: give the fraction of the weights to keep, or --dense")
    if config.scale_fan == "sparsity" and config.density == 1:
        raise ConfigError("--scale_fan sparsity is 0 with --density 1: take density or off")
    _check_selection(config)
    _check_trained(config)


def _check_selection(config: "MultiPrizeConfig") -> None:
    if config.scope == "global":
        if config.selection != "top":
            raise ConfigError(f"--scope global picks the largest scores: leave out --selection {config.selection}")
    elif config.density_ramp_epochs:
        raise ConfigError("--density_ramp_epochs does nothing with --scope layer: add --scope global")
    if config.selection != "sampled":
        _refuse(config, "score_init_constant", "without --selection sampled")
    if 0 < config.epochs <= config.ramp_epochs and config.kept < 0.5 and not config.evaluate:
        raise ConfigError(
            f"--density_ramp_epochs: expected fewer than all {config.epochs} epochs, as the density is reached only "
            f"then, received {config.ramp_epochs}; lower it or raise --epochs"
        )


def _check_trained(config: "MultiPrizeConfig") -> None:
    if config.learn_batchnorm and config.bias_only:
        raise ConfigError("--bias_only trains less than --learn_batchnorm: give one of them")
    learns = config.learn_batchnorm or config.bias_only
    if config.tune_batchnorm and not learns:
        raise ConfigError("--tune_batchnorm does nothing alone: add --learn_batchnorm or --bias_only")
    if learns and config.batch_norm == "fixed":
        raise ConfigError("--batch_norm fixed has no scales and offsets to train: leave it out, or take affine")
    if config.selection == "fixed" and not learns and not config.evaluate:
        raise ConfigError("--selection fixed leaves nothing to train: add --learn_batchnorm or --bias_only")


def _check_views(config: "MultiPrizeConfig") -> None:
    if config.augmix and config.gaussian_noise:
        raise ConfigError("--augmix and --gaussian_noise exclude each other: give one of them")
    if config.jsd and not (config.augmix or config.gaussian_noise):
        raise ConfigError("--jsd needs changed views of the images: add --augmix or --gaussian_noise")
    for flag, names in _NEEDED.items():
        if not getattr(config, flag):
            _refuse(config, names, f"without --{flag}")


def _check_optimizer(config: "MultiPrizeConfig") -> None:
    if config.optimizer == "adam":
        _refuse(config, "momentum nesterov weight_decay bn_decay", "with --optimizer adam")
    if config.lr_policy not in ("constant", "cosine"):
        _refuse(config, "warmup_epochs", f"with --lr_policy {config.lr_policy}")
    if config.lr_policy != "multistep":
        _refuse(config, "lr_adjust lr_gamma", f"with --lr_policy {config.lr_policy}")
    if config.warmup_epochs >= max(config.epochs, 1):
        raise ConfigError(
            f"--warmup_epochs: expected fewer than all {config.epochs} epochs, received {config.warmup_epochs}"
        )


def _refuse(config: "MultiPrizeConfig", names: str, where: str) -> None:
    """Raises an error if one of the settings, blank-separated, was changed though it has no effect."""
    defaults = {field.name: field.default for field in fields(config)}
    for name in names.split():
        if getattr(config, name) != defaults[name]:
            raise ConfigError(f"--{name} does nothing {where}: leave one of them out")
