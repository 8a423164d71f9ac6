"""`tfprune`: pruning of Keras models from the command line, one command per task."""

import sys
from collections.abc import Sequence
from importlib import import_module

from tfprune.cli.command import run_subcommand
from tfprune.cli.model_configs import BenchmarkConfig, ExportConfig, InspectConfig, LandscapeConfig
from tfprune.cli.programs import evaluate, train_cifar, train_imagenet
from tfprune.cli.prune_config import PruneConfig
from tfprune.recipes.dpp import DPP_COMMANDS, DPP_MODULES
from tfprune.recipes.sanity_config import SanityConfig

COMMANDS = {
    "inspect": InspectConfig,
    "prune": PruneConfig,
    "benchmark": BenchmarkConfig,
    "landscape": LandscapeConfig,
    "export": ExportConfig,
    "sanity": SanityConfig,
}
"""Config classes by the command's name."""

_MODULES = {name: f"tfprune.cli.{name}" for name in COMMANDS} | {"sanity": "tfprune.recipes.sanity"}
"""Modules with the function `run(config)`; they import TensorFlow, so they are only named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the command line names.

    Args:
        arguments: The command line's words, first the name of a command. Default: those the program was started with.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] and words[0] in _STARTS:
        return _STARTS[words[0]](words[1:], prog=f"tfprune {words[0]}")
    if words[:1] == ["dpp"]:
        return run_subcommand(
            words[1:],
            DPP_COMMANDS,
            lambda name, config: import_module(DPP_MODULES[name]).run(config),
            prog="tfprune dpp",
            description="DPP pruning, by determinantal point processes, and the theory of pruned teacher-student "
            "networks.",
            check=lambda config: config.check_files(),
        )
    return run_subcommand(
        words,
        {**COMMANDS, **PROGRAMS},
        lambda name, config: import_module(_MODULES[name]).run(config),
        prog="tfprune",
        description="Makes Keras models smaller, and runs five published pruning methods: EKG, Peek-a-Boo, "
        "multi-prize tickets, random tickets and DPP pruning.",
        check=lambda config: config.check_files(),
    )


class _TrainCifar:
    """Runs EKG, Peek-a-Boo, multi-prize tickets or random tickets on CIFAR-10, CIFAR-100 or digits."""


class _TrainImageNet:
    """Runs the same methods on ImageNet, or images like it."""


class _Test:
    """Measures how accurate, large and fast a trained or pruned model is on test images."""


class _DPP:
    """Runs DPP pruning: of students, and of image classifiers; `tfprune dpp` lists its own commands."""


PROGRAMS = {"train_cifar": _TrainCifar, "train_imagenet": _TrainImageNet, "test": _Test, "dpp": _DPP}
"""What has settings, or commands, of its own; the first paragraph of the docstring is for the help."""

_STARTS = {"train_cifar": train_cifar, "train_imagenet": train_imagenet, "test": evaluate}

if __name__ == "__main__":
    sys.exit(main())
