"""Masks as a picture."""

from collections.abc import Mapping
from pathlib import Path

from tfprune.errors import ConfigError


def plot_densities(counts: Mapping[str, tuple[int, int]], path: str | Path) -> None:
    """Draws the densities of weights as bars, and a line at the density of all.

    Args:
        counts: How many weights stay and how many there are, by name.
        path: The file to write; its ending says of which kind.

    Raises:
        ConfigError: matplotlib is not installed, or does not know the kind.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, which is not installed; pip install matplotlib") from error
    figure = Figure(figsize=(max(4.0, 1 + 0.3 * len(counts)), 4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if Path(path).suffix.lstrip(".").lower() not in canvas.get_supported_filetypes():
        raise ConfigError(f"expected a kind of picture that matplotlib writes, received {path}; try .png or .svg")
    axes = figure.add_subplot()
    axes.bar(range(len(counts)), [kept / total for kept, total in counts.values()])
    kept, total = (sum(column) for column in zip(*counts.values(), strict=True))
    axes.axhline(kept / total, color="black", linewidth=0.8, linestyle="--", label=f"all: {kept / total:.3g}")
    axes.set_xticks(range(len(counts)), list(counts), rotation=90, fontsize=7)
    axes.set_ylabel("density")
    axes.set_ylim(0, 1)
    axes.legend()
    figure.savefig(path)
