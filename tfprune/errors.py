"""The errors that tfprune raises at its boundary.

Every message says what was wrong, what was expected and what to do. The command-line tools print it as one line and
exit with code 2; anything else that escapes is a bug of tfprune.
"""

from typing import get_args


class TfpruneError(Exception):
    """Base class of all errors a user of tfprune can cause and fix."""


class ConfigError(TfpruneError, ValueError):
    """A setting has a value that cannot be used."""


class DataUnavailableError(TfpruneError):
    """A data set is neither on disk nor can it be fetched."""


class CheckpointError(TfpruneError):
    """A file of weights is missing, damaged, hostile, or belongs to another architecture."""


class RunFolderError(TfpruneError):
    """A run folder cannot be written, or holds something else than what is to be continued."""


class UnsupportedLayerError(TfpruneError):
    """A layer of the model cannot be pruned or rewritten."""


class SearchError(TfpruneError):
    """A search cannot start, or has no candidate left before it reached its target."""


class PruningError(TfpruneError):
    """A target cannot be reached, or a plan does not fit the model it is applied to."""


class WorkerError(TfpruneError):
    """Processes that train together did not find each other, or lost one of them."""


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ConfigError` unless the value of a setting is one of the choices of a `Literal`."""
    if value not in get_args(choices):
        *most, last = get_args(choices)
        raise ConfigError(f"{name}: expected {', '.join(most)} or {last}, received {value!r}")
