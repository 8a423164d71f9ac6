"""`train_imagenet.py`: methods on ImageNet, or on data like it, that are read from the disk."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tfprune.cli.subcommands import run_subcommand
from tfprune.methods.peekaboo.imagenet_config import PruneImageNetConfig, TrainImageNetConfig

COMMANDS = {"prune": PruneImageNetConfig, "train": TrainImageNetConfig}

_RUNS = {"prune": "tfprune.methods.peekaboo.prune_imagenet", "train": "tfprune.methods.peekaboo.pipeline"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for: prunes a network before its training, or trains it.

    Args:
        arguments: Its words, first `prune` or `train`. Default: those the program was started with.

    Returns:
        The exit code, see `run_command`.
    """
    return run_subcommand(
        arguments,
        COMMANDS,
        _work,
        prog="train_imagenet.py",
        description="Peek-a-Boo on ImageNet, or on images like it, in two stages.",
        interrupted="stopped; what was done is kept, continue with --resume",
    )


def _work(name: str, config: Any) -> None:
    import_module(_RUNS[name]).run(config)
