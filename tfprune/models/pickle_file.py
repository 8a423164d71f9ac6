"""Files of weights as EKG's authors write them: a pickled dictionary of arrays."""

from pathlib import Path

import numpy as np

from tfprune.errors import CheckpointError
from tfprune.models.restricted_unpickler import PickledArray, RefusedPickleError, RestrictedUnpickler


def read_pickled_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a pickle, by name; nothing that the file asks for is run.

    Names like `__header__`, which a conversion from MATLAB left in the authors' file, are ignored.

    Args:
        path: The file.

    Returns:
        Arrays by the names the file gives them.

    Raises:
        CheckpointError: The file is damaged, asks for something else than arrays, or is no dictionary of arrays.
    """
    try:
        with path.open("rb") as file:
            content = RestrictedUnpickler(file).load()
    except RefusedPickleError as error:
        raise CheckpointError(
            f"refused: the file asks for {error}; nothing in {path} was run; expected a pickled dictionary of arrays"
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way: end of file, memo, index, memory, encoding
        raise CheckpointError(
            f"{path} is damaged or no pickle ({type(error).__name__}); expected a pickled dictionary of arrays; "
            "fetch the file again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a pickled dictionary of arrays, {path} holds a {type(content).__name__}")
    return {_name(key, path): _array(key, value, path) for key, value in content.items() if not _leftover(key)}


def _leftover(key: object) -> bool:
    return isinstance(key, str) and key.startswith("__")


def _name(key: object, path: Path) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"expected arrays by name, {path} has the key {key!r:.40}")
    return key


def _array(key: object, value: object, path: Path) -> np.ndarray:
    if not isinstance(value, PickledArray) or value.value is None:
        raise CheckpointError(f"expected an array of numbers under {key!r:.60}, {path} has something else")
    return value.value
