"""Errors that a user can fix.

Every message says what was wrong, what was expected and what to do. The command-line tools print it as one line and
exit with code 2; any other exception that escapes is a bug of tfprune. `first_line` shortens the message of another
library's exception so that it fits into such a line.
"""

import difflib
from collections.abc import Iterable
from typing import get_args

from tfprune.reprs import short
from tfprune.tables import shortened

_CLOSE = 0.7  # similarity from which a word is suggested for another
_LINE = 200  # characters of another library's message
_WORD = 160  # characters of a word in a message, such as a path
_MESSAGE = 800  # characters of a message


class TfpruneError(Exception):
    """Base class of all errors that a user of tfprune can cause and fix.

    Args:
        message: What is wrong. Paths and values in it may be anything: it becomes one line of printable characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ConfigError(TfpruneError, ValueError):
    """A setting has a value that cannot be used."""


class DataUnavailableError(TfpruneError):
    """A data set is not on disk and cannot be downloaded, or is damaged."""


class CheckpointError(TfpruneError):
    """A file of weights is missing, damaged, unsafe, or belongs to another architecture."""


class RunFolderError(TfpruneError):
    """A run folder cannot be written, or contains another run than the one to continue."""


class UnsupportedLayerError(TfpruneError):
    """A layer of the model cannot be pruned or rewritten."""


class SearchError(TfpruneError):
    """A search cannot start, or runs out of candidates before it reaches its target."""


class PruningError(TfpruneError, ValueError):
    """A target cannot be reached, or a plan does not fit the model that it is applied to."""


class WorkerError(TfpruneError):
    """Processes that train together cannot connect, or one of them stopped."""


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ConfigError` unless the value of a setting is one of the choices of a `Literal`."""
    if not isinstance(value, str) or value not in get_args(choices):
        *most, last = get_args(choices)
        raise ConfigError(f"{name}: expected {', '.join(most)} or {last}, received {short(value)}")


def one_line(text: str) -> str:
    """Returns a text as one line of printable characters; long words, and a long text, lose their middle.

    Example:
        >>> one_line("a\\nb \\x07")
        'a b \\\\x07'
    """
    words = (shortened(each, _WORD) for each in text.split())
    line = " ".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in word) for word in words)
    return shortened(line, _MESSAGE)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message; the name of its type if it has none.

    Of a long one it returns the first words, of 200 characters together.

    Args:
        error: An exception of any library.

    Example:
        >>> first_line(ValueError("bad header in block 3.\\nmore details"))
        'bad header in block 3'
    """
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0]
    return line.rstrip(".") if len(line) <= _LINE else f"{line[:_LINE].rpartition(' ')[0] or line[:_LINE]} ..."


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns the end of an error message for an unknown word: `; did you mean ...?`, or nothing if none is similar.

    Args:
        word: The word. Upper case counts as lower case, and a known word at its beginning is similar.
        known: The known words.

    Example:
        >>> suggestion("lstm_1", ["lstm1", "head"])
        '; did you mean lstm1?'
    """
    given, words = word.lower(), {each.lower(): each for each in known}
    near = difflib.get_close_matches(given, words, n=1, cutoff=_CLOSE)
    near += sorted((each for each in words if len(each) > 1 and given.startswith(each)), key=len, reverse=True)
    return f"; did you mean {words[near[0]]}?" if near else ""
