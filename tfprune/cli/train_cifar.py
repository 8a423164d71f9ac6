"""`train_cifar.py`: the methods on CIFAR-10, CIFAR-100, or the embedded digits."""

from collections.abc import Sequence

from tfprune.cli.method import run_method
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.multiprize.config import MultiPrizeConfig
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.tickets.dense_config import DenseConfig
from tfprune.recipes.tickets.ticket_config import TicketConfig

METHODS = {
    "ekg": EKGConfig,
    "peekaboo": PeekabooConfig,
    "dense": DenseConfig,
    "ticket": TicketConfig,
    "multiprize": MultiPrizeConfig,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs the method it names, returns the exit code."""
    return run_method(arguments, METHODS, prog="train_cifar.py", default="ekg")
