"""Masks: which weights of a model are kept, as a value that can be combined, checked, shown, saved and loaded."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfprune.arguments import line_width, whole_number
from tfprune.errors import ConfigError
from tfprune.files import as_file, as_path, replaced_file
from tfprune.reading import ArrayFile, Expected, RefusedError, open_arrays, reading, shown
from tfprune.reprs import described
from tfprune.tables import WIDTH, Column, count, listed, make_table

_BAR = 20
FORMAT = "tfprune masks 1"
CONTENT = "masks that tfprune saved"
_PARAMETERS = "parameters"
_NO_AXIS = -1
_MOST = 1 << 28  # weights of masks in any file; a small one could say that it has billions, all kept
_PARTS = {
    "names": Expected("text", "masks"),
    "shapes": Expected("whole numbers", "..."),
    "bits": Expected("whole numbers", "bytes"),
    _PARAMETERS: Expected("whole numbers", least=0, optional=True),
}


class Masks(Mapping[str, np.ndarray]):
    """Which weights are kept, for each kernel of a model. Immutable.

    Keys are a layer's path and the name of its weight, such as `conv/kernel`, `outer/inner/kernel` in nested models or
    `block/pointwise_kernel`. Values are bool arrays of the weight's shape, True where a weight is kept.

    Args:
        arrays: Masks by name, in the order of the model: bool, or numbers that are all 0 or 1.
        parameters: Number of parameters of the whole model, biases and all else included; None if it is not known.

    Raises:
        ConfigError: There is no mask, or an array has other values than 0 and 1.

    Example:
        >>> masks = Masks({"conv/kernel": np.array([[1, 0], [1, 1]]), "fc/kernel": np.array([0, 0])})
        >>> masks
        Masks(2 weights, 3 of 6 kept, density 0.5)
        >>> masks.counts
        {'conv/kernel': (3, 4), 'fc/kernel': (0, 2)}
        >>> masks.collapsed
        ('fc/kernel',)
    """

    def __init__(self, arrays: Mapping[str, Any], *, parameters: int | None = None) -> None:
        if not isinstance(arrays, Mapping):
            raise ConfigError(f"masks: expected arrays by the name of the weight, received {described(arrays)}")
        self._parameters = None if parameters is None else whole_number("parameters", parameters, at_most=2**63 - 1)
        self._arrays = MappingProxyType({_name(name): _mask(name, array) for name, array in arrays.items()})
        if not self._arrays:
            raise ConfigError("expected masks of at least one weight, received none; give a model with kernels")

    @classmethod
    def full(cls, weights: Mapping[str, Any]) -> "Masks":
        """Makes masks that keep everything.

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
        """Keeps the weights that one or the other keeps."""
        return self._combined(other, np.logical_or)

    def __and__(self, other: "Masks") -> "Masks":
        """Keeps the weights that both keep."""
        return self._combined(other, np.logical_and)

    @property
    def parameters(self) -> int | None:
        """Number of parameters of the whole model; None if it is not known."""
        return self._parameters

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(kept for kept, _ in self.counts.values())

    @property
    def total(self) -> int:
        """Number of weights."""
        return sum(mask.size for mask in self.values())

    @property
    def density(self) -> float:
        """Fraction of weights that are kept."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are removed."""
        return 1 - self.density

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Number of kept weights and of all weights, by name."""
        return {name: (int(np.count_nonzero(mask)), mask.size) for name, mask in self.items()}

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Names of the kernels without a kept weight, whose layers pass nothing on."""
        return tuple(name for name, mask in self.items() if not mask.any())

    def check(self, weights: Mapping[str, Any]) -> None:
        """Raises an error unless these are the masks of certain weights.

        Args:
            weights: The weights by name, such as `prunable_weights(model)`; anything with a `shape`.

        Raises:
            ConfigError: A weight is missing, there is one too many, or a shape differs; the message names the first
                one.
        """
        for name, mask in self.items():
            if name not in weights:
                raise ConfigError(
                    f"masks: expected masks of {listed(list(weights))}, received one of {name}, which is no prunable "
                    "weight of the model; are they another model's?"
                )
            shape = tuple(weights[name].shape)
            if mask.shape != shape:
                raise ConfigError(
                    f"masks: expected shape {shape} for {name}, received {mask.shape}; are they another model's?"
                )
        missing = next((name for name in weights if name not in self), None)
        if missing is not None:
            raise ConfigError(f"masks: expected one for {missing}, received none; are they another model's?")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an `.npz` file in one step: one bit per weight, nothing pickled.

        The file contains `format`, `names` `[masks]`, `shapes` `[masks, largest rank]` (padded with -1) and `bits`,
        those of all masks in row-major order, eight per byte, the first one highest; and `parameters`, those of the
        whole model, if that is known. It may contain other arrays.

        Args:
            path: The file; it must end in `.npz`.

        Raises:
            ConfigError: It does not.
            WriteError: The file cannot be written.
        """
        path = as_file(path)
        if path.suffix != ".npz":
            raise ConfigError(f"expected a file of masks that ends in .npz, received {path}; rename it")
        shapes = np.full((len(self), max(mask.ndim for mask in self.values())), _NO_AXIS, np.int64)
        for row, mask in zip(shapes, self.values(), strict=True):
            row[: mask.ndim] = mask.shape
        flat = np.concatenate([mask.ravel() for mask in self.values()])
        with replaced_file(path) as unfinished:
            known: dict[str, Any] = {} if self.parameters is None else {_PARAMETERS: np.array(self.parameters)}
            np.savez_compressed(
                unfinished,
                format=np.array(FORMAT),
                names=np.array(list(self)),
                shapes=shapes,
                bits=np.packbits(flat),
                **known,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Masks":
        """Reads what `save` wrote.

        Args:
            path: The file. No code in it is run.

        Returns:
            The masks, in the order in which they were saved.

        Raises:
            CheckpointError: The file is missing, damaged, or holds something else.
        """
        path = as_path(path)
        with reading(path, CONTENT, advice="save them again"), open_arrays(path) as file:
            return cls.read(file)

    @classmethod
    def read(cls, file: ArrayFile) -> "Masks":
        """Reads masks from an opened file, which may contain other arrays; to be used within `reading`.

        Raises:
            RefusedError: It contains no masks.
            Exception: It is damaged; of any type.
        """
        written = file.read({"format": Expected("text")})["format"].item()
        if written != FORMAT:
            raise RefusedError(f"it has the format {shown(written)}")
        arrays = file.read(_PARTS)
        masks = _unpacked(arrays["names"], arrays["shapes"], arrays["bits"], max(_MOST, file.budget))
        return cls(masks, parameters=int(arrays[_PARAMETERS]) if _PARAMETERS in arrays else None)

    def table(self, *, width: int = WIDTH) -> str:
        """Returns a table of the densities: a heading, a line for each weight, and one for all.

        Where the number of the model's parameters is known, a last line says how many of them have masks.

        Args:
            width: Characters per line.

        Example:
            >>> masks = Masks({"conv/kernel": np.arange(40) < 30, "fc/kernel": np.zeros(20)})
            >>> print(masks.table())
            weight       kept  of  density
            conv/kernel    30  40   0.7500  ###############
            fc/kernel       0  20   0.0000  nothing is left
            -----------------------------------------------
            all            30  60   0.5000  ##########
        """

        def row(name: str, kept: int, size: int) -> tuple[str, ...]:
            bar = "#" * max(1, round(_BAR * kept / size)) if kept else "nothing is left"
            return name, f"{kept:,}", f"{size:,}", f"{kept / size:.4f}", bar

        rows = [*(row(name, *counts) for name, counts in self.counts.items()), None, row("all", self.kept, self.total)]
        columns = [Column("weight", "name"), Column("kept"), Column("of"), Column("density"), Column("", "text")]
        width = line_width(width)
        table = make_table(columns, rows, width=width, indent=0)
        if not self.parameters:
            return table
        share = f"{self.total / self.parameters:.2%}".replace("%", " %")
        return f"{table}\n{self.total:,} of the model's {self.parameters:,} parameters have masks: {share}"

    def plot(self, path: str | Path) -> None:
        """Draws the densities as bars, one for each weight, with a line at the density of all.

        Args:
            path: The file to write; its suffix says in which format, such as `.png` or `.svg`.

        Raises:
            ConfigError: matplotlib is not installed, or does not write the format.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ConfigError("plots need matplotlib, which is not installed; pip install matplotlib") from error
        counts = self.counts
        figure = Figure(figsize=(max(4.0, 1 + 0.3 * len(counts)), 4), layout="constrained")
        canvas = FigureCanvasAgg(figure)
        if Path(path).suffix.lstrip(".").lower() not in canvas.get_supported_filetypes():
            raise ConfigError(f"expected a kind of picture that matplotlib writes, received {path}; try .png or .svg")
        axes = figure.add_subplot()
        axes.bar(range(len(counts)), [kept / total for kept, total in counts.values()])
        axes.axhline(self.density, color="black", linewidth=0.8, linestyle="--", label=f"all: {self.density:.3g}")
        axes.set_xticks(range(len(counts)), list(counts), rotation=90, fontsize=7)
        axes.set_ylabel("density")
        axes.set_ylim(0, 1)
        axes.legend()
        figure.savefig(path)

    def __repr__(self) -> str:
        return f"Masks({count(len(self), 'weight')}, {self.kept:,} of {self.total:,} kept, density {self.density:.4g})"

    def __str__(self) -> str:
        covered = "" if self.parameters is None else f"; {self.total:,} of the model's {self.parameters:,} parameters"
        return f"{repr(self)[:-1]}{covered})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Masks, parameters=self.parameters), (dict(self),)

    def _combined(self, other: "Masks", operation: Callable[..., np.ndarray]) -> "Masks":
        if not isinstance(other, Masks):
            return NotImplemented
        other.check(self)
        masks = {name: operation(mask, other[name]) for name, mask in self.items()}
        return Masks(masks, parameters=self.parameters)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"masks: expected names such as conv/kernel, received {name!r}")
    return name


def _mask(name: str, array: Any) -> np.ndarray:
    values = np.asarray(array)
    if values.dtype != bool and (values.dtype.kind not in "iuf" or not np.isin(values, (0, 1)).all()):
        raise ConfigError(f"masks: expected zeros and ones for {name}, received other values ({values.dtype})")
    if not values.size:
        raise ConfigError(f"masks: expected at least one weight in {name}, received shape {values.shape}")
    mask = np.array(values, bool)  # a copy of our own
    mask.setflags(write=False)
    return mask


def _unpacked(names: np.ndarray, shapes: np.ndarray, bits: np.ndarray, most: int) -> dict[str, np.ndarray]:
    if shapes.ndim != 2 or len(shapes) != len(names):
        raise RefusedError("names and shapes do not match")
    if len(set(names.tolist())) != len(names) or "" in names:
        raise RefusedError("a name appears twice, or is empty")
    sizes = [tuple(size for size in row if size != _NO_AXIS) for row in shapes.tolist()]
    if any(size < 1 for shape in sizes for size in shape):
        raise RefusedError("a shape is empty")
    counts = [prod(shape) for shape in sizes]
    if bits.dtype != np.uint8 or len(bits) != -(-sum(counts) // 8):
        raise RefusedError("the number of bits differs from the number of weights")
    if sum(counts) > most:
        raise RefusedError(f"it has masks of {sum(counts):,} weights, where {most:,} are the most for its size")
    parts = np.split(np.unpackbits(bits, count=sum(counts)).view(bool), np.cumsum(counts)[:-1])
    return {str(name): part.reshape(shape) for name, part, shape in zip(names, parts, sizes, strict=True)}
