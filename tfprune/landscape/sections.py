"""Sections of a loss: its values along random directions through the weights of a model."""

import json
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Annotated, Any

import keras
import numpy as np
from msgspec import Meta
from tqdm import tqdm

from tfprune.arguments import line_width, text, truth
from tfprune.errors import ConfigError
from tfprune.files import as_file, as_path, write_text
from tfprune.landscape.directions import FilterDirections
from tfprune.landscape.figures import draw_sections
from tfprune.landscape.objective import Objective
from tfprune.landscape.settings import BatchNorm, LandscapeSettings, Precision
from tfprune.reading import Count, RefusedError, Size, read_json, reading, typed
from tfprune.reprs import short_repr
from tfprune.tables import WIDTH, Column, count, make_table


@dataclass(frozen=True)
class _Stored:
    """What the file of a `Section` holds."""

    steps: Annotated[list[float], Meta(min_length=1)]
    losses: Annotated[list[list[Any]], Meta(min_length=1)]
    center: float
    batch_norm: BatchNorm
    examples: Size
    seed: Count


@dataclass(frozen=True, eq=False)
class Section:
    """Values of a mean loss along directions through the weights.

    Attributes:
        steps: Float64 `[points]`, ascending, 0 in the middle. At step 1 each filter was moved by its own norm.
        losses: Float64 `[directions, points]`, or `[planes, points, points]`, where the second axis goes along the
            first direction of a plane.
        center: The loss at the weights themselves.
        batch_norm: The statistics that batch norms used.
        examples: Examples of the data.
        seed: Seed of the directions.
    """

    steps: np.ndarray
    losses: np.ndarray
    center: float
    batch_norm: BatchNorm
    examples: int
    seed: int

    __repr__ = short_repr

    @property
    def dimensions(self) -> int:
        """1 for curves, 2 for planes."""
        return self.losses.ndim - 1

    @property
    def fluctuations(self) -> np.ndarray:
        """Root mean square of `loss - center` over the points of each direction or plane, without the center.

        Neither Li et al. nor EKG's code define the fluctuation of a section as a number; this definition is ours. It
        has the unit of the loss, and depends on the radius and on what batch norms do.
        """
        changes = (self.losses - self.center).reshape(len(self.losses), -1)
        others = np.delete(changes, changes.shape[1] // 2, axis=1)
        return np.sqrt(np.square(others).mean(axis=1))

    @property
    def fluctuation(self) -> float:
        """Mean of `fluctuations`."""
        return float(self.fluctuations.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of `fluctuation` as a mean over random directions; NaN for a single one."""
        values = self.fluctuations
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

    def table(self, *, width: int = WIDTH) -> str:
        """Returns the mean, least and largest loss at each step from the center, and the fluctuation.

        Args:
            width: Characters per line.
        """
        width = line_width(width)
        distances = np.abs(self.steps)
        if self.dimensions == 2:
            distances = np.maximum(*np.meshgrid(distances, distances))
        rows = []
        for step in self.steps[len(self.steps) // 2 :]:
            values = self.losses[:, distances == step]
            rows.append([f"{step:.4g}", f"{values.mean():.4f}", f"{values.min():.4f}", f"{values.max():.4f}"])
        columns = [Column("step"), Column("mean loss"), Column("least"), Column("largest")]
        return f"{make_table(columns, rows, width=width, indent=0)}\n{self.summary}"

    @property
    def summary(self) -> str:
        """The fluctuation in a line."""
        error = "" if np.isnan(self.standard_error) else f" ± {self.standard_error:.2g}"
        noun = "direction" if self.dimensions == 1 else "plane"
        return f"fluctuation {self.fluctuation:.4g}{error} over {count(len(self.losses), noun)}"

    def save(self, path: str | PathLike[str]) -> None:
        """Writes everything to a JSON file, all or nothing.

        Args:
            path: The file.

        Raises:
            WriteError: It cannot be written.
        """
        write_text(as_file(path), json.dumps(self.values, indent=1) + "\n")

    @property
    def values(self) -> dict[str, Any]:
        """All attributes as plain values, for JSON."""
        return asdict(self) | {"steps": self.steps.tolist(), "losses": self.losses.tolist()}

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Section":
        """Reads what `save` wrote.

        Raises:
            ConfigError: The file is missing or holds something else.
        """
        path = as_path(path)
        with reading(path, "a section that tfprune saved", error=ConfigError, advice="name another file"):
            stored = typed(read_json(path, finite=False), _Stored)
            steps, losses = np.array(stored.steps), np.array(stored.losses)
            if losses.ndim not in (2, 3) or losses.dtype.kind not in "fi" or set(losses.shape[1:]) != {len(steps)}:
                raise RefusedError(f"losses: expected numbers for each of the {len(steps)} steps")
        arrays = {"steps": steps.astype(np.float64), "losses": losses.astype(np.float64)}
        return cls(**vars(stored) | arrays)

    def plot(self, path: str | PathLike[str], *, title: str = "") -> None:
        """Draws curves, or contours of the first plane.

        Args:
            path: The file to write; its suffix says in which format, such as `.png` or `.svg`.
            title: Title of the figure.

        Raises:
            ConfigError: matplotlib is not installed, or does not write the format.
        """
        draw_sections({text("title", title): self}, path)


def section(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    dimensions: int = 1,
    directions: int | None = None,
    points: int = 21,
    radius: float = 0.5,
    batch_norm: BatchNorm = "batch",
    batches: int | None = None,
    dtype: Precision = "float32",
    seed: int = 0,
    progress: bool = True,
) -> Section:
    """Measures the mean loss of a model along filter-normalized random directions through its weights.

    A direction is drawn from a normal distribution, and each of its filters is scaled to the norm of the same filter of
    the weights. Biases, scales and offsets of normalizations, and other weights that are no kernels, stay as they are.

    The statistics of batch norms change with the weights, so they must be chosen:

    - `batch`, the default: those of each batch, as in training. The section then is the loss that training descends, it
      does not depend on the scale of weights before a batch norm, and it needs no averages that fit, which pruned
      sub-networks do not have. The center differs from the model's evaluation, and batches should be those of training.
    - `moving`: the stored averages of the center, as published by Li et al. At the center this is the model's
      evaluation. Away from it the averages do not fit the weights, and much of the rise shows just this.
    - `recalibrated`: averages that are measured on the data again at every point, which takes twice as long.

    Args:
        model: A functional or sequential model. It is not changed.
        data: A pair of arrays, or batches `(x, y)`, such as a `tf.data.Dataset`. They are read once and held in memory.
        loss: What `compile(loss=...)` takes. None: the loss that the model is compiled with; if it is not compiled,
            cross-entropy. Penalties of regularizers do not count.
        dimensions: 1 for curves; 2 for planes, of two directions each.
        directions: How many curves or planes. Default: 10 curves, 1 plane.
        points: Points along each axis, an odd number, the center among them.
        radius: The largest step; at 1 each filter is moved by its own norm.
        batch_norm: See above.
        batches: Use only so many batches. Default: all.
        dtype: Number format of the computation, `float32` or `float64`.
        seed: Seed of the directions. The first ones are the same whatever their number.
        progress: Show a progress bar.

    Returns:
        The section.

    Raises:
        ConfigError: The data, the loss or a setting cannot be used, or a loss is not finite.
        UnsupportedLayerError: The model has no graph.

    Reference:
        Li et al., Visualizing the Loss Landscape of Neural Nets (NeurIPS 2018), section 4.

    Example:
        `tfprune.landscape.section(model, (images, labels)).fluctuation`
    """
    settings = LandscapeSettings(
        directions=directions,
        dimensions=dimensions,
        points=points,
        radius=radius,
        batch_norm=batch_norm,
        dtype=dtype,
        seed=seed,
    )
    drawn, points, radius, seed = settings.drawn, settings.points, settings.radius, settings.seed
    progress = truth("progress", progress)
    objective = Objective(model, data, loss=loss, batch_norm=batch_norm, batches=batches, dtype=dtype)
    random = FilterDirections(objective.model, objective.variables, seed)
    outward = radius * np.arange(1, points // 2 + 1) / (points // 2)
    steps = np.concatenate([-outward[::-1], [0.0], outward])
    losses = np.full((drawn, *[points] * dimensions), objective.center)
    places = list(np.ndindex(*losses.shape[1:]))
    total = drawn * (len(places) - 1)
    with tqdm(
        total=total, desc=f"sections of {model.name}", unit=" points", disable=None if progress else True, leave=False
    ) as bar:
        for values in losses:
            axes = [random.draw() for _ in range(dimensions)]
            for place in places:
                offsets = steps[list(place)]
                if offsets.any():
                    values[place] = _finite(objective.value(_moved(objective.start, axes, offsets)))
                    bar.update()
    return Section(steps, losses, objective.center, batch_norm, objective.examples, seed)


def _moved(start: list[np.ndarray], axes: list[list[np.ndarray]], offsets: np.ndarray) -> list[np.ndarray]:
    """Returns weights, moved by so many steps along each direction."""
    return [
        weights + sum(step * part for step, part in zip(offsets, parts, strict=True))
        for weights, *parts in zip(start, *axes, strict=True)
    ]


def _finite(loss: float) -> float:
    if not np.isfinite(loss):
        raise ConfigError(f"expected a finite loss, received {loss} away from the center; try a smaller radius")
    return loss
