"""Figures of sections: curves with their mean, or contours of a plane, one panel for each model."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from tfprune.errors import ConfigError
from tfprune.files import as_file, replaced_file

_LEVELS = 15
_COLUMNS = 3  # panels side by side
_STEP = "step (norms of the filters)"


def draw_sections(sections: Mapping[str, Any], path: str | PathLike[str]) -> None:
    """Draws sections side by side on the same scale, without a screen.

    Curves are drawn with their mean; of planes the first one as contours.

    Args:
        sections: `Section`s of the same number of dimensions, by title.
        path: The file to write; its suffix says in which format, such as `.png` or `.svg`.

    Raises:
        ConfigError: matplotlib is not installed, or does not write the format.
        WriteError: The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, which is not installed; pip install matplotlib") from error
    columns = min(_COLUMNS, len(sections))
    rows = -(-len(sections) // columns)
    figure = Figure(figsize=(1.4 + 3.4 * columns, 3.6 * rows), layout="constrained", dpi=120)
    canvas = FigureCanvasAgg(figure)
    if as_file(path).suffix.lstrip(".").lower() not in canvas.get_supported_filetypes():
        raise ConfigError(f"expected a kind of picture that matplotlib writes, received {path}; try .png or .svg")
    curves = all(each.dimensions == 1 for each in sections.values())
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in panels[len(sections) :]:
        axes.set_visible(False)
    (_draw_curves if curves else _draw_planes)(figure, panels, sections)
    for axes, title in zip(panels, sections, strict=False):
        axes.set_title(title, fontsize=9)
    figure.supxlabel(_STEP, fontsize=10)
    with replaced_file(as_file(path)) as partial:
        figure.savefig(partial)


def _draw_curves(figure: Any, panels: Any, sections: Mapping[str, Any]) -> None:
    for axes, section in zip(panels, sections.values(), strict=False):
        label = "one direction"
        for losses in section.losses:
            axes.plot(section.steps, losses, color="C0", alpha=0.35, linewidth=0.8, label=label)
            label = "_nolegend_"
        axes.plot(section.steps, section.losses.mean(axis=0), color="C3", linewidth=1.8, label="mean")
        axes.grid(alpha=0.3)
    figure.supylabel("mean loss", fontsize=10)
    panels[0].legend(fontsize=8)


def _draw_planes(figure: Any, panels: Any, sections: Mapping[str, Any]) -> None:
    planes = [each.losses[0] for each in sections.values()]
    low, high = min(each.min() for each in planes), max(each.max() for each in planes)
    levels = np.linspace(low, high if high > low else low + 1, _LEVELS)
    for axes, section, plane in zip(panels, sections.values(), planes, strict=False):
        # The first axis of the array goes along the first direction, which is drawn to the right.
        filled = axes.contourf(section.steps, section.steps, plane.T, levels, cmap="viridis")
        axes.contour(section.steps, section.steps, plane.T, levels, colors="white", linewidths=0.4)
        axes.plot(0, 0, "+", color="red")
    figure.supylabel(_STEP, fontsize=10)
    figure.colorbar(filled, ax=list(panels), label="mean loss")
