"""What `tfprune prune` prunes: channels, or single weights."""

from collections.abc import Mapping
from typing import Any

from tfprune.errors import ConfigError

CHANNEL_CRITERIA = ("l1", "l2", "bn_scale", "fpgm", "random", "taylor", "ekg", "dpp_node")
WEIGHT_CRITERIA = (
    "magnitude",
    "lottery",
    "smart_ratio",
    "hybrid",
    "snip",
    "grasp",
    "synflow",
    "grad_norm",
    "fisher",
    "dpp_edge",
    "random",
)
WITH_DATA = ("taylor", "ekg", "snip", "grasp", "grad_norm", "fisher", "dpp_edge")
DATA_OPTIONAL = ("dpp_node", "synflow")
_OF_CHANNELS = {
    "flops": None,
    "params": None,
    "round_to": 1,
    "min_channels": 1,
    "max_sparsity": 1.0,
    "steps": 1,
    "reweight": False,
    "recalibrate": False,
    "plan": None,
}
_OF_WEIGHTS = {"iterations": None, "original_ties": False}
"""Criteria that look at data, and cannot do without."""
"""Criteria that look at data if there are some."""


def prunes_weights(out: str | None, criterion: str) -> bool:
    """Whether single weights are pruned: masks are written to `.npz` files, channels go from `.keras` files."""
    return out.endswith(".npz") if out is not None else criterion not in CHANNEL_CRITERIA


def check_kind(settings: Mapping[str, Any]) -> None:
    """Refuses settings that are not for what is pruned.

    Args:
        settings: The settings of the command by name.

    Raises:
        ConfigError: The criterion, or a setting, is for the other kind.
    """
    out, criterion = settings["out"], settings["criterion"]
    if prunes_weights(out, criterion):
        _check_criterion(criterion, WEIGHT_CRITERIA, f"masks of weights ({out})", "CHANNELS.keras")
        _check_foreign(settings, _OF_CHANNELS, "channels, and OUT is a file of masks of single weights")
        if settings["density"] is None:
            raise ConfigError("--density is missing: the fraction of the weights to keep, such as --density 0.1")
        if settings["schedule"] == "cubic":
            raise ConfigError("--schedule: expected linear or exponential for weights, received cubic")
    else:
        if criterion == "dpp_node" and settings["density"] is None and settings["plan"] is None:
            raise ConfigError("--criterion dpp_node: how many channels are drawn must be known; give --density")
        if criterion == "dpp_node" and settings["steps"] > 1:
            raise ConfigError("--steps: dpp_node draws the channels in one step; leave it out")
        _check_criterion(criterion, CHANNEL_CRITERIA, f"a model with fewer channels ({out})", "MASKS.npz")
        _check_foreign(settings, _OF_WEIGHTS, "single weights; name an OUT that ends in .npz to get their masks")


def _check_criterion(criterion: str, fitting: tuple[str, ...], what: str, other: str) -> None:
    if criterion not in fitting:
        raise ConfigError(
            f"--criterion: expected one of {', '.join(fitting)} for {what}, received {criterion}; change it, or "
            f"name an OUT such as {other}"
        )


def _check_foreign(settings: Mapping[str, Any], defaults: Mapping[str, Any], what: str) -> None:
    for name, default in defaults.items():
        if settings[name] != default:
            raise ConfigError(f"--{name}: it is for pruning {what}; leave it out")
