"""Files of the commands, each replaced in one step.

Teachers, students, kernels and masks are .npz archives that record what they contain. Comparisons over several models
write their rows to `results.csv`, and means over the models to `table.md` and a figure. Figures need matplotlib, which
takes time to import and is therefore imported on first use.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.console import report_console
from tfprune.errors import CheckpointError
from tfprune.files import as_path, csv_text, write_bytes, write_text
from tfprune.locks import RUN_LOCK, Lock
from tfprune.reading import Expected, open_arrays, reading, shown
from tfprune.tables import make_grid

Rows = Sequence[Mapping[str, Any]]
Curves = dict[str, list[tuple[float, float, float, float]]]
"""Points by label: x, mean, standard error, and another number (NaN for none)."""


def save_arrays(path: str | Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, numbers and texts to an .npz file.

    Args:
        path: The file.
        kind: What it contains, in words; `load_arrays` checks it.
        arrays: The values by name.

    Raises:
        WriteError: The file cannot be written.
    """
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(each) for name, each in arrays.items()}
    np.savez_compressed(buffer, kind=np.array(kind), **named)
    write_bytes(Path(path), buffer.getvalue())


def load_arrays(
    path: str | Path, kind: str, expected: Mapping[str, Expected], lengths: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Reads a file that `save_arrays` wrote.

    Args:
        path: The file.
        kind: What it must contain, in words.
        expected: What each of its arrays must be, by name.
        lengths: Lengths of axes that are known before, by name.

    Returns:
        The arrays by name; single values as Python's numbers and texts.

    Raises:
        CheckpointError: It cannot be read, or contains something else.
    """
    with reading(path, f"an .npz file with a {kind}", advice="make it again"), open_arrays(path, lengths) as file:
        holds = str(file.read({"kind": Expected("text", optional=True)}).get("kind", "something else"))
        if holds != kind:
            raise CheckpointError(f"expected a {kind}, {path} holds {shown(holds)}; give the file of the {kind}")
        arrays = file.read(expected)
    return {name: array if array.ndim else array.item() for name, array in arrays.items()}


def digest(array: np.ndarray) -> str:
    """Returns a digest of numbers, which distinguishes them from others."""
    return hashlib.sha256(np.ascontiguousarray(array, np.float64).tobytes()).hexdigest()[:16]


@contextmanager
def locked_folder(path: str) -> Iterator[Path]:
    """Creates a folder unless it exists, and keeps other processes out while the block runs.

    Args:
        path: The folder.

    Yields:
        The folder.

    Raises:
        RunFolderError: It cannot be created, or another process works there.
    """
    folder = as_path(path)
    with Lock(folder / RUN_LOCK, folder, "wait for its end, or name another --out"):
        yield folder


def write_rows(path: Path, rows: Rows) -> None:
    """Writes a CSV file; all rows have the fields of the first."""
    write_text(path, csv_text(rows))


def mean_curves(rows: Rows, value: str, *, at: str, x: str, other: str | None = None) -> Curves:
    """Averages rows over the repeats, one curve per way of pruning.

    Args:
        rows: Rows with `choice`, `reweight`, `standard_error` and the fields below.
        value: The field to average.
        at: The field that the rows of one point have in common.
        x: The field with the x coordinate of the point.
        other: Another field to average.

    Returns:
        The curves by label, in the order of the rows; points ascend in `at`.
    """
    found: Curves = {}
    for name in dict.fromkeys(map(_label, rows)):
        mine = [row for row in rows if _label(row) == name]
        for point in sorted({row[at] for row in mine}):
            here = [row for row in mine if row[at] == point]
            extra = float("nan") if other is None else float(np.mean([row[other] for row in here]))
            place = float(np.mean([row[x] for row in here]))
            found.setdefault(name, []).append((place, *_mean(here, value), extra))
    return found


def _label(row: Mapping[str, Any]) -> str:
    return row["choice"] + (" reweighted" if row["reweight"] else "")


def _mean(rows: Rows, value: str) -> tuple[float, float]:
    """Returns the mean over the repeats and its standard error: over the repeats, or over the masks if there is one."""
    values = np.array([row[value] for row in rows])
    if len(values) == 1:
        return float(values[0]), float(rows[0]["standard_error"])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def write_table(folder: Path, head: str, columns: Sequence[str], lines: Curves) -> str:
    """Writes means with their standard errors to `table.md`, one line per curve; returns them as a table of text."""
    cells = {
        name: {column: f"{y:.3f} ± {spread:.3f}" for column, (_, y, spread, _) in zip(columns, points, strict=True)}
        for name, points in lines.items()
    }
    text = [f"| {head} | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    text += [f"| {name} | {' | '.join(values.values())} |" for name, values in cells.items()]
    write_text(folder / "table.md", "\n".join(text) + "\n")
    return make_grid(("", head, "mean"), columns, cells, width=report_console().width)


def draw_curves(
    path: str | Path, curves: Curves, *, unpruned: float | None, x_label: str, y_label: str, log: bool
) -> None:
    """Draws curves with error bars, and a cross where a point has another number.

    Args:
        path: The .png file.
        curves: The points by label, see `mean_curves`.
        unpruned: Height of a line for the unpruned model; None for no line.
        x_label: Label of the x axis.
        y_label: Label of the y axis.
        log: Whether the y axis is logarithmic.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.2), layout="constrained")
    axes = figure.subplots()
    ways = list(dict.fromkeys(label.removesuffix(" reweighted") for label in curves))
    for label, points in curves.items():
        x, y, spread, simulated = np.array(points).T
        style = ("o" if "node" in label else "s") + ("-" if "reweighted" in label else "--")
        color = f"C{ways.index(label.removesuffix(' reweighted'))}"
        line = axes.errorbar(x, y, spread, fmt=style, color=color, label=label, capsize=2, markersize=4, linewidth=1)
        axes.plot(x, simulated, "x", color=line[0].get_color(), markersize=7)
    if unpruned is not None:
        axes.axhline(unpruned, color="gray", linewidth=0.8, linestyle=":", label="unpruned")
    if log:
        axes.set_yscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    figure.legend(fontsize=7, ncols=3, loc="outside lower center")
    _write_figure(figure, path)


def draw_overlaps(path: str | Path, panels: Mapping[str, np.ndarray]) -> None:
    """Draws the absolute values of matrices as heat maps, one panel per title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(panels), 2.8), layout="constrained")
    for axes, (title, matrix) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        image = axes.imshow(np.abs(matrix), cmap="viridis", vmin=0, vmax=max(1.0, float(np.abs(matrix).max())))
        axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=figure.axes, shrink=0.8)
    _write_figure(figure, path)


def _write_figure(figure: Any, path: str | Path) -> None:
    """Writes a matplotlib figure without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(Path(path), buffer.getvalue())
