"""Programs that do several things, named by their first word."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import docstring_parser

import tfprune
from tfprune.cli.command import USER_ERROR, run_command
from tfprune.cli.parser import parse
from tfprune.cli.suggestion import suggestion

_HELP = ("-h", "--help", "help")


def run_subcommand(
    arguments: Sequence[str] | None,
    commands: Mapping[str, type],
    work: Callable[[str, Any], object],
    *,
    prog: str,
    description: str,
    check: Callable[[Any], object] = lambda config: None,
    interrupted: str = "stopped",
) -> int:
    """Does what the first word of a command line names, with the settings that follow.

    Args:
        arguments: The words. Default: those the program was started with.
        commands: Settings classes by the command's name.
        work: Does the work, given the command's name and its settings.
        prog: Name of the program.
        description: What it is, a sentence for the help.
        check: Called with the settings while TensorFlow need not be waited for.
        interrupted: What to say after Ctrl-C.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in _HELP:
        print(_help(commands, prog, description))
        return 0
    if words[0] == "--version":
        print(f"{prog} {tfprune.__version__}")
        return 0
    name, *rest = words
    if name not in commands:
        near = suggestion(name, commands, otherwise=f"there are {', '.join(commands)}")
        print(f"{prog}: error: unknown command {name!r}{near}", file=sys.stderr)
        return USER_ERROR

    def settings() -> Any:
        config: Any = parse(commands[name], rest, prog=f"{prog} {name}")
        check(config)
        return config

    return run_command(f"{prog} {name}", settings, lambda config: work(name, config), interrupted=interrupted)


def _help(commands: Mapping[str, type], prog: str, description: str) -> str:
    width = max(map(len, commands))
    lines = [f"usage: {prog} COMMAND [ARGUMENTS ...]", "", description, "", "commands:"]
    lines += [f"  {name:<{width}}  {_description(config)}" for name, config in commands.items()]
    lines += ["", f"`{prog} COMMAND --help` lists the settings of a command; `{prog} --version` says the version."]
    return "\n".join(lines)


def _description(config: type) -> str:
    return docstring_parser.parse(config.__doc__ or "").short_description or ""
