"""Command lines."""

from tfprune.cli.command import quiet_import, run_command
from tfprune.cli.parser import make_parser, parse

__all__ = ["make_parser", "parse", "quiet_import", "run_command"]
