"""Figures, drawn without a screen and written in one step."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfprune.files import write_bytes


def overlap_figure(path: str | Path, panels: Mapping[str, np.ndarray]) -> None:
    """Heat maps of the absolute values of matrices, by their title."""
    figure = Figure(figsize=(2.6 * len(panels), 2.8), layout="constrained")
    for axes, (title, matrix) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        image = axes.imshow(np.abs(matrix), cmap="viridis", vmin=0, vmax=max(1.0, float(np.abs(matrix).max())))
        axes.set_title(title, fontsize=9)
    figure.colorbar(image, ax=figure.axes, shrink=0.8)
    _write(figure, path)


def error_figure(
    path: str | Path,
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]],
    *,
    unpruned: float | None,
    x_label: str,
    y_label: str,
    log: bool,
) -> None:
    """Curves with error bars, and simulated points where there are some.

    Args:
        path: The .png file.
        curves: By label: x, y, standard error and simulated y (NaN for none) of each point.
        unpruned: Where to draw a line for the whole network.
        x_label: What x is.
        y_label: What y is.
        log: Whether y is on a logarithmic scale.
    """
    figure = Figure(figsize=(7, 4.6), layout="constrained")
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
    axes.legend(fontsize=7, ncols=2)
    _write(figure, path)


def _write(figure: Figure, path: str | Path) -> None:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(Path(path), buffer.getvalue())
