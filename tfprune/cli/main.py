"""`tfprune`: pruning of Keras models from the command line, one command for each thing to do."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tfprune.cli.subcommands import run_subcommand
from tfprune.commands import COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for.

    Args:
        arguments: Its words, first the name of a command. Default: those the program was started with.

    Returns:
        The exit code, see `run_command`.
    """
    return run_subcommand(
        arguments,
        COMMANDS,
        _work,
        prog="tfprune",
        description="Pruning of Keras models.",
        check=lambda config: config.check_files(),
    )


def _work(name: str, config: Any) -> None:
    import_module(f"tfprune.commands.{name}").run(config)
