"""`train_cifar.py`: the methods on CIFAR-10, CIFAR-100, or the embedded digits."""

import sys
from collections.abc import Sequence
from importlib import import_module

from tfprune.cli.command import run_command
from tfprune.cli.method import pick_method
from tfprune.cli.parser import parse
from tfprune.methods.ekg.config import EKGConfig
from tfprune.methods.multiprize.config import MultiPrizeConfig
from tfprune.methods.peekaboo.config import PeekabooConfig
from tfprune.methods.tickets.dense_config import DenseConfig
from tfprune.methods.tickets.ticket_config import TicketConfig

PROG = "train_cifar.py"

METHODS = {
    "ekg": EKGConfig,
    "peekaboo": PeekabooConfig,
    "dense": DenseConfig,
    "ticket": TicketConfig,
    "multiprize": MultiPrizeConfig,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs the method it names, returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_command(
        PROG,
        lambda: parse(pick_method(words, METHODS, default="ekg"), words, prog=PROG),
        _work,
        interrupted="stopped; what was done is kept, continue with --resume",
    )


def _work(config: EKGConfig | PeekabooConfig | DenseConfig | MultiPrizeConfig) -> None:
    package = type(config).__module__.rpartition(".")[0]
    import_module(package).run(config)
