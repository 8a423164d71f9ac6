"""`train_imagenet.py`: the methods on ImageNet, or on images like it, that are read from the disk."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tfprune.cli.method import run_method
from tfprune.cli.subcommands import run_subcommand
from tfprune.recipes.ekg.imagenet_config import EKGImageNetConfig
from tfprune.recipes.multiprize.imagenet_config import MultiPrizeImageNetConfig
from tfprune.recipes.peekaboo.imagenet_config import PruneImageNetConfig, TrainImageNetConfig
from tfprune.recipes.tickets.dense_imagenet_config import DenseImageNetConfig
from tfprune.recipes.tickets.ticket_imagenet_config import TicketImageNetConfig

PROG = "train_imagenet.py"
METHODS = {
    "ekg": EKGImageNetConfig,
    "peekaboo": TrainImageNetConfig,
    "dense": DenseImageNetConfig,
    "ticket": TicketImageNetConfig,
    "multiprize": MultiPrizeImageNetConfig,
}
COMMANDS = {"prune": PruneImageNetConfig, "train": TrainImageNetConfig}
_RUNS = {"prune": "tfprune.recipes.peekaboo.pruning", "train": "tfprune.recipes.peekaboo.method"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for: runs a method, or one of the two stages of Peek-a-Boo.

    Args:
        arguments: Its words; `prune` or `train` at the beginning name a stage. Default: those the program was started
            with.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] and words[0] in COMMANDS:
        return run_subcommand(
            words,
            COMMANDS,
            _stage,
            prog=PROG,
            description="Peek-a-Boo on ImageNet, or on images like it, in two stages.",
            interrupted="stopped; what was done is kept, continue with --resume",
        )
    return run_method(words, METHODS, prog=PROG, default="ekg")


def _stage(name: str, config: Any) -> None:
    import_module(_RUNS[name]).run(config)
