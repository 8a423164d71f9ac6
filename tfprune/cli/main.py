"""`tfprune`: pruning of Keras models from the command line, one command per task."""

import sys
from collections.abc import Sequence
from importlib import import_module

from tfprune.cli.command import run_subcommand
from tfprune.cli.model_configs import BenchmarkConfig, ExportConfig, InspectConfig
from tfprune.cli.prune_config import PruneConfig
from tfprune.recipes.dpp import DPP_COMMANDS, DPP_MODULES
from tfprune.recipes.sanity_config import SanityConfig

COMMANDS = {
    "inspect": InspectConfig,
    "prune": PruneConfig,
    "benchmark": BenchmarkConfig,
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
    if words[:1] == ["dpp"]:
        return run_subcommand(
            words[1:],
            DPP_COMMANDS,
            lambda name, config: import_module(DPP_MODULES[name]).run(config),
            prog="tfprune dpp",
            description="Pruning by determinantal point processes, and the theory of pruned teacher-student networks.",
            check=lambda config: config.check_files(),
        )
    return run_subcommand(
        words,
        {**COMMANDS, "dpp": _DPP},
        lambda name, config: import_module(_MODULES[name]).run(config),
        prog="tfprune",
        description="Pruning of Keras models.",
        check=lambda config: config.check_files(),
    )


class _DPP:
    """Prunes by determinantal point processes; `tfprune dpp` lists its own commands."""
