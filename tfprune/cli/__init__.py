"""Command lines: settings from flags and YAML files, a quiet start, errors in one line."""

from tfprune.cli.command import quiet_tensorflow, run_command
from tfprune.cli.parser import make_parser, parse

__all__ = ["make_parser", "parse", "quiet_tensorflow", "run_command"]
