"""Settings that need no flag: their place among the words of a command says what they are."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import get_args

from tfprune.cli.flag import Flag, truth
from tfprune.cli.suggestion import unknown_flag
from tfprune.errors import ConfigError

_OTHERS = {"config": 1, "setting": 1, "help": 0, "version": 0}


def with_flags(words: Sequence[str], flags: Mapping[str, Flag], positional: Sequence[str]) -> list[str]:
    """Puts the flags before the words that stand without one, wherever these stand between flags.

    argparse gives up on positional arguments that come after a flag with an optional value, or in two places.

    Args:
        words: The command line's words.
        flags: The settings by name.
        positional: Names of those that need no flag, in the order in which they are given; the last may be a list.

    Returns:
        The same with flags only.

    Raises:
        ConfigError: A flag is unknown, a setting is given twice, or there are too many words.
    """
    rest, found = _separated(list(words), flags)
    given: dict[str, list[str]] = {}
    for name in positional:
        if not found:
            break
        count = len(found) if flags[name].is_list else 1
        given[name], found = found[:count], found[count:]
    if found:
        names = " ".join(usage(flags[name]) for name in positional)
        raise ConfigError(f"expected {names} and flags, received {found[0]!r}, too")
    for name, values in given.items():
        if any(word.partition("=")[0] == f"--{name}" for word in rest):
            raise ConfigError(f"{name} is given twice, as {values[0]!r} and as --{name}; give it once")
        rest += [f"--{name}", *values] if flags[name].is_list else [f"--{name}={values[0]}"]
    return rest


def usage(flag: Flag) -> str:
    """A positional setting in a usage line."""
    name = f"{flag.name.upper()} ..." if flag.is_list else flag.name.upper()
    return name if flag.default is MISSING else f"[{name}]"


def _separated(words: list[str], flags: Mapping[str, Flag]) -> tuple[list[str], list[str]]:
    """Flags with their values, and the other words."""
    rest: list[str] = []
    found: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            return rest, found + words
        if not word.startswith("--") and word != "-h":
            found.append(word)
            continue
        rest.append(word)
        if "=" in word or word == "-h":
            continue
        count = _values(word.removeprefix("--"), words, flags)
        rest += words[:count]
        del words[:count]
    return rest, found


def _values(name: str, words: Sequence[str], flags: Mapping[str, Flag]) -> int:
    """How many of the words after a flag belong to it."""
    following = next((index for index, word in enumerate(words) if word.startswith("--")), len(words))
    if name in _OTHERS:
        return min(_OTHERS[name], following)
    flag = flags.get(name) or flags.get(name.removeprefix("no_"))
    if flag is None or (flag.name != name and flag.kind is not bool):
        raise ConfigError(unknown_flag(name, flags))
    if flag.is_list:
        fits = [_is_a(flag.kind, word) for word in words[:following]]
        return max(1, fits.index(False)) if False in fits else following
    optional = flag.kind is bool or "on" in get_args(flag.kind)
    if optional and not (words and _is_a(flag.kind, words[0])):
        return 0
    return min(1, following)


def _is_a(kind: object, word: str) -> bool:
    """Whether a word can be a value of a kind of setting."""
    if word == "None" or kind is str:
        return True
    if get_args(kind):
        return word in get_args(kind)
    try:
        (truth if kind is bool else kind)(word)  # type: ignore[operator]
    except ValueError:
        return False
    return True
