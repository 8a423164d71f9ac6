"""`test.py`: how good, how large and how fast a model is."""

from collections.abc import Sequence

from tfprune.cli.command import run_command
from tfprune.cli.parser import parse
from tfprune.recipes.evaluate_config import EvaluateConfig

PROG = "test.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, evaluates, returns the exit code."""
    return run_command(PROG, lambda: parse(EvaluateConfig, arguments, prog=PROG), _work)


def _work(config: EvaluateConfig) -> None:
    from tfprune.recipes.evaluate import run

    run(config)
