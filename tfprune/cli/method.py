"""Programs that run one of several methods."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

from tfprune.cli.command import run_command
from tfprune.cli.parser import parse
from tfprune.cli.settings_file import read_settings
from tfprune.cli.suggestion import suggestion
from tfprune.errors import ConfigError

Words = Sequence[str]


def run_method(arguments: Words | None, methods: Mapping[str, type], *, prog: str, default: str) -> int:
    """Runs the method that a command line names, with the settings that it gives.

    Args:
        arguments: The command line's words. Default: those the program was started with.
        methods: Settings classes by the method's name; the package of a class has the function `run`.
        prog: Name of the program.
        default: The method where none is named.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)

    def settings() -> Any:
        return parse(pick_method(words, methods, default=default), words, prog=prog)

    return run_command(prog, settings, _run, interrupted="stopped; what was done is kept, continue with --resume")


def _run(config: Any) -> None:
    import_module(type(config).__module__.rpartition(".")[0]).run(config)


def pick_method(arguments: Words, methods: Mapping[str, type], *, default: str) -> type:
    """The settings class of the method that the flag `--method`, or the key `method` of a settings file, names.

    Args:
        arguments: The command line's words.
        methods: Settings classes by the method's name.
        default: The method where none is named.

    Returns:
        One of the classes.

    Raises:
        ConfigError: There is no such method, or a settings file cannot be read.

    Example:
        >>> pick_method(["--method", "b"], {"a": int, "b": float}, default="a")
        <class 'float'>
    """
    named = _values(arguments, "--method")
    for path in _values(arguments, "--config", "--setting"):
        if not named and isinstance(value := read_settings(path).get("method"), str):
            default = value
    name = named[-1] if named else default
    if name not in methods:
        near = suggestion(name, methods, otherwise=f"there are {', '.join(methods)}")
        raise ConfigError(f"--method: unknown method {name!r}{near}")
    return methods[name]


def _values(arguments: Words, *flags: str) -> list[str]:
    values = [value for word, value in pairwise(arguments) if word in flags]
    return values + [word.partition("=")[2] for word in arguments if word.partition("=")[0] in flags and "=" in word]
