"""The file that keeps a search: enough to go on after a kill, and to read the history afterwards."""

import io
import os
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from tfprune.errors import RunFolderError
from tfprune.files import write_bytes
from tfprune.search.state import SearchState, SubNetwork

_ARRAYS = ("rates", "orders", "knowledge")
_NUMBERS = ("members", "params", "flops", "accuracy")


def save_state(state: SearchState, path: str | os.PathLike[str]) -> None:
    """Writes a search's state to a `.npz` file, all or nothing.

    Args:
        state: The state after a step.
        path: The file; an older state in it is replaced.
    """
    values = {name: np.asarray(getattr(state, name)) for name in (*_ARRAYS, *_NUMBERS)}
    for field in fields(SubNetwork):
        values[f"history_{field.name}"] = np.stack([getattr(entry, field.name) for entry in state.history])
    buffer = io.BytesIO()
    np.savez(buffer, **values)  # type: ignore[arg-type]  # the stubs take a name for `allow_pickle`
    write_bytes(Path(path), buffer.getvalue())


def load_state(path: str | os.PathLike[str]) -> SearchState:
    """Reads what `save_state` wrote.

    Raises:
        RunFolderError: The file is no such state.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as values:
            columns = [values[f"history_{field.name}"] for field in fields(SubNetwork)]
            history = tuple(
                SubNetwork(orders, rates, float(loss)) for orders, rates, loss in zip(*columns, strict=True)
            )
            arrays = {name: values[name] for name in _ARRAYS}
            numbers = {name: values[name].item() for name in _NUMBERS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"cannot read the search kept in {path}: {error}; start anew with --overwrite") from None
    return SearchState(history=history, **arrays, **numbers)
