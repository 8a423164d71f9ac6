"""What `tfprune prune` prunes: channels or single weights, by any criterion that is registered."""

from collections.abc import Mapping
from typing import Any

from tfprune.criteria.registry import DataUse, Kind, find_criterion, installed_criteria, registered_criteria
from tfprune.errors import ConfigError

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


def prunes_weights(out: str | None, criterion: str) -> bool:
    """Whether single weights are pruned: masks are written to `.npz` files, models with fewer channels to `.keras`."""
    return out.endswith(".npz") if out is not None else find_criterion(criterion, "channels") is None


def data_use(out: str | None, criterion: str) -> DataUse:
    """Returns whether the criterion uses data."""
    info = find_criterion(criterion, "weights" if prunes_weights(out, criterion) else "channels")
    assert info is not None, "checked by check_kind"
    return info.uses_data


def check_kind(settings: Mapping[str, Any]) -> None:
    """Checks that the settings fit what is pruned.

    Args:
        settings: The settings of the command by name.

    Raises:
        ConfigError: There is no such criterion, or it, or a setting, is for the other kind.
    """
    out, criterion = settings["out"], settings["criterion"]
    if find_criterion(criterion) is None:
        known = dict.fromkeys([*(info.name for info in registered_criteria()), *installed_criteria()])
        raise ConfigError(
            f"--criterion: expected one of {', '.join(known)}, received {criterion}; use one of these, or name the "
            "module that registers it with --plugin"
        )
    if prunes_weights(out, criterion):
        _check_criterion(criterion, "weights", f"masks of weights ({out})", "CHANNELS.keras")
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
        _check_criterion(criterion, "channels", f"a model with fewer channels ({out})", "MASKS.npz")
        _check_foreign(settings, _OF_WEIGHTS, "single weights; name an OUT that ends in .npz to get their masks")


def _check_criterion(criterion: str, kind: Kind, what: str, other: str) -> None:
    if find_criterion(criterion, kind) is None:
        fitting = ", ".join(info.name for info in registered_criteria(kind))
        raise ConfigError(
            f"--criterion: expected one of {fitting} for {what}, received {criterion}; change it, or name an OUT such "
            f"as {other}"
        )


def _check_foreign(settings: Mapping[str, Any], defaults: Mapping[str, Any], what: str) -> None:
    for name, default in defaults.items():
        if settings[name] != default:
            raise ConfigError(f"--{name}: it is for pruning {what}; leave it out")
