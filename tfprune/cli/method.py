"""Which method a command line asks for."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from tfprune.cli.settings_file import read_settings
from tfprune.cli.suggestion import suggestion
from tfprune.errors import ConfigError

Words = Sequence[str]


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
