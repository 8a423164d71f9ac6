"""`train_cifar.py`: EKG on CIFAR-10, CIFAR-100, or the embedded digits."""

from collections.abc import Sequence

from tfprune.cli.command import run_command
from tfprune.cli.parser import parse
from tfprune.methods.ekg.config import EKGConfig

PROG = "train_cifar.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs EKG, returns the exit code."""
    return run_command(
        PROG,
        lambda: parse(EKGConfig, arguments, prog=PROG),
        _work,
        interrupted="stopped; what was done is kept, continue with --resume",
    )


def _work(config: EKGConfig) -> None:
    from tfprune.methods import ekg

    ekg.run(config)
