"""`train_cifar.py`: the methods on CIFAR-10, CIFAR-100, or the embedded digits."""

from collections.abc import Sequence

from tfprune.cli.method import run_method
from tfprune.methods.ekg.config import EKGConfig
from tfprune.methods.multiprize.config import MultiPrizeConfig
from tfprune.methods.peekaboo.config import PeekabooConfig
from tfprune.methods.tickets.dense_config import DenseConfig
from tfprune.methods.tickets.ticket_config import TicketConfig

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
