"""Errors that a user can fix.

Every message says what was wrong, what was expected and what to do. The command-line tools print it as one line and
exit with code 2; any other exception that escapes is a bug of tfprune. `first_line` shortens the message of another
library's exception so that it fits into such a line.
"""

from typing import get_args


class TfpruneError(Exception):
    """Base class of all errors that a user of tfprune can cause and fix."""


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


class PruningError(TfpruneError):
    """A target cannot be reached, or a plan does not fit the model that it is applied to."""


class WorkerError(TfpruneError):
    """Processes that train together cannot connect, or one of them stopped."""


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ConfigError` unless the value of a setting is one of the choices of a `Literal`."""
    if value not in get_args(choices):
        *most, last = get_args(choices)
        raise ConfigError(f"{name}: expected {', '.join(most)} or {last}, received {value!r}")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, at most 200 characters; the name of its type if it has none.

    Args:
        error: An exception of any library.

    Example:
        >>> first_line(ValueError("bad header in block 3.\\nmore details"))
        'bad header in block 3'
    """
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
