"""`tfprune`: pruning of Keras models from the command line, one command for each thing to do."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import docstring_parser

import tfprune
from tfprune.cli.command import USER_ERROR, run_command
from tfprune.cli.parser import parse
from tfprune.cli.suggestion import suggestion
from tfprune.commands import COMMANDS

PROG = "tfprune"


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for.

    Args:
        arguments: Its words, first the name of a command. Default: those the program was started with.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"{PROG} {tfprune.__version__}")
        return 0
    name, *rest = words
    if name not in COMMANDS:
        near = suggestion(name, COMMANDS, otherwise=f"there are {', '.join(COMMANDS)}")
        print(f"{PROG}: error: unknown command {name!r}{near}", file=sys.stderr)
        return USER_ERROR

    def settings() -> Any:
        config: Any = parse(COMMANDS[name], rest, prog=f"{PROG} {name}")
        config.check_files()  # while TensorFlow need not be waited for
        return config

    def work(config: Any) -> None:
        import_module(f"tfprune.commands.{name}").run(config)

    return run_command(f"{PROG} {name}", settings, work)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"usage: {PROG} COMMAND [ARGUMENTS ...]", "", "Pruning of Keras models.", "", "commands:"]
    lines += [f"  {name:<{width}}  {_description(config)}" for name, config in COMMANDS.items()]
    lines += ["", f"`{PROG} COMMAND --help` lists the settings of a command; `{PROG} --version` says the version."]
    return "\n".join(lines)


def _description(config: type) -> str:
    return docstring_parser.parse(config.__doc__ or "").short_description or ""
