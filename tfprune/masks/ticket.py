"""Tickets: masks plus the weights to start from, and controls that rearrange either."""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from tfprune.errors import ConfigError
from tfprune.files import as_file, as_path, replaced_file
from tfprune.masks.masks import CONTENT, Masks
from tfprune.reading import Expected, RefusedError, json_value, open_arrays, reading, shown
from tfprune.reprs import short_repr

# Every file of a ticket is also one of masks, which skips these.
_ORIGIN = "origin"
_WEIGHTS = "weights/"


@dataclass(frozen=True, eq=False)
class Ticket:
    """Masks plus the weights to start from, in one file that another machine can continue with.

    The weights are stored, and not only their seed, as another version of TensorFlow would draw others. The file can
    also be read by `Masks.load`.

    Attributes:
        masks: Which weights are kept.
        weights: All variables of the model by path, such as `conv/kernel`; removed ones keep their values.
        origin: What the model is, such as the name of its architecture, as plain values.
    """

    masks: Masks
    weights: Mapping[str, np.ndarray]
    origin: Mapping[str, Any]

    __repr__ = short_repr

    @classmethod
    def from_model(cls, masks: Masks, model: Any, /, **origin: Any) -> "Ticket":
        """Makes a ticket of a model with its present weights.

        Args:
            masks: Its masks.
            model: A Keras model.
            **origin: What the model is, as plain values.
        """
        weights = {variable.path: _stored(np.asarray(variable)) for variable in model.variables}
        return cls(masks, MappingProxyType(weights), MappingProxyType(dict(origin)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an `.npz` file in one step, and replaces an existing one.

        Raises:
            ConfigError: The name does not end in `.npz`, or the file cannot be written.
        """
        try:
            with replaced_file(as_file(path)) as partial:
                self.masks.save(partial)
                with zipfile.ZipFile(partial, "a") as file:
                    _append(file, _ORIGIN, np.array(json.dumps(dict(self.origin))))
                    for name, value in self.weights.items():
                        _append(file, _WEIGHTS + name, value)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}; name another file") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Ticket":
        """Reads a file of `Ticket.save`, or one of `Masks.save`, which has no weights and no origin.

        Raises:
            CheckpointError: The file is missing, damaged, holds something else, or weights that are not finite or
                beyond the range of float32.
        """
        path = as_path(path)
        with reading(path, CONTENT, advice="prune again"), open_arrays(path) as file:
            masks = Masks.read(file)
            names = [name for name in file.names if name.startswith(_WEIGHTS)]
            weights = file.read(dict.fromkeys(names, Expected("values", "...")))
            written = file.read({_ORIGIN: Expected("text", optional=True)})
            origin = json_value(written[_ORIGIN].item(), finite=False) if written else {}
            if not isinstance(origin, dict):
                raise RefusedError(f"its origin is {shown(origin)}, where values by name were expected")
        named = {name.removeprefix(_WEIGHTS): array for name, array in weights.items()}
        return cls(masks, MappingProxyType(named), MappingProxyType(origin))

    def start(self, model: Any, /, **origin: Any) -> None:
        """Assigns the weights to a model; does nothing if the file contained only masks.

        Args:
            model: A Keras model.
            **origin: What the model is; compared with the values stored under the same names.

        Raises:
            ConfigError: It is another model; the message names the first difference.
        """
        for name, value in origin.items():
            if name in self.origin and self.origin[name] != json.loads(json.dumps(value)):
                raise ConfigError(
                    f"the masks belong to {name} {shown(self.origin[name])}, received a model of {name} {shown(value)}"
                )
        if not self.weights:
            return
        variables = {variable.path: variable for variable in model.variables}
        for name in [*variables, *self.weights]:
            ours = tuple(self.weights[name].shape) if name in self.weights else "none"
            theirs = tuple(variables[name].shape) if name in variables else "none"
            if ours != theirs:
                raise ConfigError(f"the masks belong to another model: its {name} is {ours}, that of this one {theirs}")
        for name, variable in variables.items():
            variable.assign(self.weights[name])


def _stored(value: np.ndarray) -> np.ndarray:
    """Returns a copy in a format that files of NumPy know: bfloat16 becomes float32, which holds all its values."""
    return value.astype(np.float32) if value.dtype.kind == "V" else value.copy()


def _append(file: zipfile.ZipFile, name: str, value: np.ndarray) -> None:
    with file.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, value, allow_pickle=False)


def layer_generator(seed: int, name: str) -> np.random.Generator:
    """Returns a random generator for one weight, which depends on the seed and the weight's name only.

    Args:
        seed: The seed, at least 0.
        name: Name of the weight.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def rearranged_masks(masks: Masks, seed: int) -> Masks:
    """Permutes every mask at random: each layer keeps the same number of weights, but other ones.

    Args:
        masks: The masks.
        seed: Seed of the permutations.

    Returns:
        Masks with the same counts.

    Example:
        >>> masks = Masks({"fc/kernel": np.eye(4)})
        >>> rearranged_masks(masks, seed=0).counts == masks.counts
        True

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), layerwise rearrange; the authors' `--rearrange`.
    """
    return Masks(
        {
            name: layer_generator(seed, name).permutation(mask.ravel()).reshape(mask.shape)
            for name, mask in masks.items()
        }
    )


def inverse_masks(masks: Masks, scores: Mapping[str, Any]) -> Masks:
    """Keeps the same number of weights in each layer, but those of the lowest scores.

    Args:
        masks: Masks with the number of weights to keep.
        scores: Arrays of the masks' shapes, such as those of `WeightCriterion.weight_scores`; of equal scores the first
            ones are kept.

    Returns:
        Masks with the same counts.

    Raises:
        ConfigError: A weight has no scores, or scores of another shape, or scores that are not finite.

    Example:
        >>> masks = Masks({"fc/kernel": np.array([0, 0, 1])})
        >>> inverse_masks(masks, {"fc/kernel": np.array([1.0, 2.0, 3.0])})["fc/kernel"]
        array([ True, False, False])
    """
    masks.check(scores)
    found = {}
    for name, mask in masks.items():
        flat = np.asarray(scores[name]).ravel()
        if not np.isfinite(flat).all():
            raise ConfigError(f"expected finite scores of {name}, received infinite ones or NaN; compute them again")
        lowest = np.argsort(flat, kind="stable")[: np.count_nonzero(mask)]
        kept = np.zeros(mask.size, bool)
        kept[lowest] = True
        found[name] = kept.reshape(mask.shape)
    return Masks(found)


def shuffled_weights(weights: Mapping[str, Any], masks: Masks, seed: int) -> dict[str, np.ndarray]:
    """Permutes the kept weights of each layer among the kept positions.

    Args:
        weights: Arrays, or variables, of the masks' shapes, such as `prunable_weights(model)`. They are not changed.
        masks: Which weights are kept.
        seed: Seed of the permutations.

    Returns:
        New arrays by name; removed weights are unchanged.

    Raises:
        ConfigError: Masks and weights do not match.

    Example:
        >>> masks = Masks({"fc/kernel": np.array([1, 0, 1, 1])})
        >>> new = shuffled_weights({"fc/kernel": np.arange(4.0)}, masks, seed=1)["fc/kernel"]
        >>> float(new[1]), sorted(new.tolist())
        (1.0, [0.0, 1.0, 2.0, 3.0])

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020); the authors' `--shuffle_unmasked_weights`.
    """
    masks.check(weights)
    shuffled = {}
    for name, mask in masks.items():
        array = np.array(np.asarray(weights[name]))
        array[mask] = layer_generator(seed, name).permutation(array[mask])
        shuffled[name] = array
    return shuffled
