"""Masks of weights."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfprune.errors import ConfigError
from tfprune.masks.mask_file import load_masks, save_masks
from tfprune.masks.mask_plot import plot_densities
from tfprune.masks.mask_table import mask_table


class Masks(Mapping[str, np.ndarray]):
    """Which weights stay, for each kernel of a model. Immutable.

    Keys are a layer's path and the name of its weight, such as `conv/kernel`, `outer/inner/kernel` in nested models or
    `block/pointwise_kernel`. Values are bool arrays of the weight's shape, True where a weight stays.

    Args:
        arrays: Masks by name, in the order of the model: bool, or numbers that are all 0 or 1.

    Raises:
        ConfigError: There is no mask, or an array is none.

    Example:
        >>> masks = Masks({"conv/kernel": np.array([[1, 0], [1, 1]]), "fc/kernel": np.array([0, 0])})
        >>> masks
        Masks(2 weights, 3 of 6 kept, density 0.5)
        >>> masks.counts
        {'conv/kernel': (3, 4), 'fc/kernel': (0, 2)}
        >>> masks.collapsed
        ('fc/kernel',)
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = MappingProxyType({_name(name): _mask(name, array) for name, array in arrays.items()})
        if not self._arrays:
            raise ConfigError("expected masks of at least one weight, received none; give a model with kernels")

    @classmethod
    def full(cls, weights: Mapping[str, Any]) -> "Masks":
        """Masks by which everything stays.

        Args:
            weights: The weights by name, such as `prunable_weights(model)`; anything with a `shape`.
        """
        return cls({name: np.ones(tuple(weight.shape), bool) for name, weight in weights.items()})

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self.keys() == other.keys() and all(np.array_equal(mask, other[name]) for name, mask in self.items())

    def __or__(self, other: "Masks") -> "Masks":
        """Weights that stay by one or the other."""
        return self._combined(other, np.logical_or)

    def __and__(self, other: "Masks") -> "Masks":
        """Weights that stay by both."""
        return self._combined(other, np.logical_and)

    @property
    def kept(self) -> int:
        """Number of weights that stay."""
        return sum(kept for kept, _ in self.counts.values())

    @property
    def total(self) -> int:
        """Number of weights."""
        return sum(mask.size for mask in self.values())

    @property
    def density(self) -> float:
        """Fraction of weights that stay."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Fraction of weights that go."""
        return 1 - self.density

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """How many weights stay, and how many there are, by name."""
        return {name: (int(np.count_nonzero(mask)), mask.size) for name, mask in self.items()}

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Names of the weights of which nothing stays: layers that pass nothing on any more."""
        return tuple(name for name, mask in self.items() if not mask.any())

    def check(self, weights: Mapping[str, Any]) -> None:
        """Makes sure that these are masks of certain weights.

        Args:
            weights: The weights by name, such as `prunable_weights(model)`; anything with a `shape`.

        Raises:
            ConfigError: A weight is missing, there is one too many, or a shape differs; names the first of them.
        """
        for name, mask in self.items():
            if name not in weights:
                raise ConfigError(
                    f"masks: expected masks of {_listed(weights)}, received one of {name}, which is no prunable weight "
                    "of the model; are they another model's?"
                )
            shape = tuple(weights[name].shape)
            if mask.shape != shape:
                raise ConfigError(
                    f"masks: expected shape {shape} for {name}, received {mask.shape}; are they another model's?"
                )
        missing = next((name for name in weights if name not in self), None)
        if missing is not None:
            raise ConfigError(f"masks: expected one for {missing}, received none; are they another model's?")

    def save(self, path: str | Path) -> None:
        """Writes an `.npz` file, one bit a weight, nothing pickled.

        Args:
            path: The file; it must end in `.npz`.

        Raises:
            ConfigError: It does not.
        """
        save_masks(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Masks":
        """Reads what `save` wrote.

        Args:
            path: The file. It gets to run no code.

        Returns:
            The masks, in the order in which they were saved.

        Raises:
            CheckpointError: The file is missing, damaged, or holds something else.
        """
        return cls(load_masks(path))

    def table(self) -> str:
        """A table of the densities, a line for each weight and one for all."""
        return mask_table(self.counts)

    def plot(self, path: str | Path) -> None:
        """Draws the densities as bars, one for each weight, into a file.

        Args:
            path: The file; its ending says of which kind, such as `.png` or `.svg`.

        Raises:
            ConfigError: matplotlib is not installed, or does not know the kind.
        """
        plot_densities(self.counts, path)

    def __repr__(self) -> str:
        return f"Masks({len(self)} weights, {self.kept:,} of {self.total:,} kept, density {self.density:.4g})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Masks, (dict(self),)

    def _combined(self, other: "Masks", operation: Callable[..., np.ndarray]) -> "Masks":
        if not isinstance(other, Masks):
            return NotImplemented
        other.check(self)
        return Masks({name: operation(mask, other[name]) for name, mask in self.items()})


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"masks: expected names such as conv/kernel, received {name!r}")
    return name


def _mask(name: str, array: Any) -> np.ndarray:
    values = np.asarray(array)
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise ConfigError(f"masks: expected zeros and ones for {name}, received other values ({values.dtype})")
    if not values.size:
        raise ConfigError(f"masks: expected at least one weight in {name}, received shape {values.shape}")
    mask = np.array(values, bool)  # a copy that nobody else holds
    mask.setflags(write=False)
    return mask


def _listed(weights: Mapping[str, Any]) -> str:
    names = list(weights)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
