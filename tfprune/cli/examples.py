"""Examples for criteria, batch norms and calibration, by the name of a data set or file."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfprune.batches.inputs import InputCheck
from tfprune.errors import ConfigError, DataUnavailableError
from tfprune.reading import Expected, open_arrays, reading, shown
from tfprune.recipes.data import ImageData, data_names, load_data

_SEED = 0
_NAMED = 5  # arrays in a message


class Examples(NamedTuple):
    """Inputs and labels.

    Attributes:
        x: `[examples, ...]`, as the model takes them.
        y: `[examples]` or `[examples, ...]`; None if the file has none.
    """

    x: np.ndarray
    y: np.ndarray | None


def load_examples(name: str, data_path: str | None, count: int, model: keras.Model) -> Examples:
    """Draws examples to look at from a training set.

    Args:
        name: A data set of `data_names()`, whose images are normalized, or an `.npz` file with arrays `x` and, if there
            are labels, `y`.
        data_path: Where TensorFlow Datasets keeps its prepared data.
        count: How many, at most; always the same ones.
        model: The model that is to take them.

    Returns:
        The examples, in the order of the data.

    Raises:
        ConfigError: There is no such data set or file, or the model does not take its examples.
        DataUnavailableError: The data cannot be read.
    """
    if data := _data_set(name, data_path):
        chosen = _chosen(len(data.train_labels), count)
        found = Examples(data.normalize(data.train_images[chosen]), data.train_labels[chosen])
    else:
        found = _from_file(name, count)
    _check(found, name, model)
    return found


def load_test_examples(name: str, data_path: str | None, model: keras.Model) -> tuple[Examples, str]:
    """Reads the examples that an accuracy is measured on.

    Args:
        name: A data set, or a file, as for `load_examples`.
        data_path: Where TensorFlow Datasets keeps its prepared data.
        model: The model that is to take them.

    Returns:
        The test images of a data set, or all examples of a file; and what they are, such as `60 test images of digits`.

    Raises:
        ConfigError: There is no such data set or file, or the model does not take its examples.
        DataUnavailableError: The data cannot be read.
    """
    if data := _data_set(name, data_path):
        found = Examples(data.normalize(data.test_images), data.test_labels)
        words = f"{len(found.x):,} test images of {data.name}"
    else:
        found = _from_file(name, None)
        words = f"{len(found.x):,} examples of {Path(name).name}"
    _check(found, name, model)
    return found, words


@lru_cache(maxsize=1)  # several models are compared on the same data, and accuracies need their test images
def _data_set(name: str, data_path: str | None) -> ImageData | None:
    """Returns a data set; None if the name is that of a file."""
    if name.casefold() in (known.casefold() for known in data_names()):
        return load_data(name, data_path)
    if Path(name).suffix != ".npz":
        names = ", ".join(data_names())
        raise ConfigError(f"--data: expected {names}, or an .npz file with arrays x and y, received {name!r}")
    return None


def _from_file(path: str, count: int | None) -> Examples:
    expected = {"x": Expected("values", "...", finite=False)}
    try:
        with reading(path, "an .npz file of numbers", error=DataUnavailableError), open_arrays(path) as file:
            if "x" not in file.names:
                named = ", ".join(map(shown, file.names[:_NAMED])) or "none"
                raise ConfigError(
                    f"--data: expected arrays x and y in {path}, received {named}; np.savez(path, x=..., y=...)"
                )
            arrays = file.read(expected | ({"y": expected["x"]} if "y" in file.names else {}))
    except DataUnavailableError as error:
        raise DataUnavailableError(f"--data: {error}") from error
    x, y = arrays["x"], arrays.get("y")
    if not x.ndim or (y is not None and y.shape[:1] != x.shape[:1]):
        raise ConfigError(
            f"--data: expected as many labels as examples in {path}, received arrays of shapes {x.shape} and "
            f"{None if y is None else y.shape}"
        )
    chosen = _chosen(len(x), count)
    return Examples(x[chosen], None if y is None else y[chosen])


def _chosen(available: int, count: int | None) -> np.ndarray:
    if count is None or count >= available:
        return np.arange(available)
    return np.sort(np.random.default_rng(_SEED).choice(available, count, replace=False))


def _check(found: Examples, name: str, model: keras.Model) -> None:
    if len(model.inputs) != 1:
        raise ConfigError(f"--data: expected a model with one input, received one with {len(model.inputs)}; use Python")
    if not len(found.x):
        raise ConfigError(f"--data: expected examples in {name}, received none")
    InputCheck(model, f"--data: {name}")(found.x)
