"""Rank correlations of measures with an outcome: with bootstrap intervals, as a Markdown table and as a figure."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

DRAWS = 2000
METHODS: dict[str, Callable[..., Any]] = {"Spearman": stats.spearmanr, "Kendall": stats.kendalltau}
Statistic = Callable[[np.ndarray], float]
Table = Mapping[str, np.ndarray]


def cell(statistic: Statistic, count: int) -> str:
    """A statistic of some of the rows: of all rows, and the middle 95 % over draws of as many with replacement."""
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, count, count) for _ in range(DRAWS))
    low, high = np.nanpercentile([statistic(rows) for rows in draws if len(set(rows)) > 2], (2.5, 97.5))
    return f"{statistic(np.arange(count)):+.2f} ({low:+.2f} to {high:+.2f})"


def markdown(table: Table, measures: Mapping[str, str], outcome: str, reference: str) -> str:
    """A table of correlations with the outcome.

    Args:
        table: Columns of numbers, one for each case.
        measures: Titles of the columns to correlate.
        outcome: The column that they are correlated with.
        reference: The measure that the others are compared with, on the same draws.
    """
    count = len(table[outcome])

    def coefficient(method: str, name: str, rows: np.ndarray) -> float:
        return float(METHODS[method](table[name][rows], table[outcome][rows]).statistic)

    def lead(name: str, rows: np.ndarray) -> float:
        return abs(coefficient("Spearman", name, rows)) - abs(coefficient("Spearman", reference, rows))

    titles = ("measure", *METHODS, f"size of Spearman's, less that of the {measures[reference]}")
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for name, title in measures.items():
        cells = [cell(lambda rows, m=method, n=name: coefficient(m, n, rows), count) for method in METHODS]
        cells.append("" if name == reference else cell(lambda rows, n=name: lead(n, rows), count))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(table: Table, measures: Mapping[str, str], outcome: tuple[str, str], kinds: np.ndarray, file: Path) -> None:
    """Draws an outcome over each measure, in a panel of its own, with a color for each kind of case."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    panels = figure.subplots(1, len(measures), sharey=True)
    name, label = outcome
    for axes, (measure, title) in zip(panels, measures.items(), strict=True):
        for kind in dict.fromkeys(kinds):
            mine = kinds == kind
            axes.plot(table[measure][mine], table[name][mine], "o", markersize=5, label=kind)
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(file)
