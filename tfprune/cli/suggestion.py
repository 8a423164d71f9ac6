"""What a user may have meant by an unknown word."""

import difflib
from collections.abc import Iterable, Mapping

from tfprune.cli.flag import Flag


def suggestion(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """The end of a message on an unknown word.

    Args:
        word: The word.
        known: The words there are.
        otherwise: What to say if none of them is near.

    Returns:
        `; did you mean ...?`, or `; ` and `otherwise`.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; {otherwise}"


def unknown_flag(name: str, flags: Mapping[str, Flag]) -> str:
    """The message on a flag that there is not.

    Args:
        name: The flag, without its dashes.
        flags: The settings by name.

    Returns:
        One line.
    """
    known = [f"--{flag}" for flag in (*flags, *(f"no_{each.name}" for each in flags.values() if each.kind is bool))]
    near = suggestion(f"--{name.replace('-', '_')}", known, otherwise="--help lists them all")
    return f"unknown flag --{name}{near}"
