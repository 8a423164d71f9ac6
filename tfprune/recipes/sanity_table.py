"""The table of sanity checks: accuracies by method and check, with the tests whether a check changes them.

Each check is compared with the original tickets of the method by Welch's t-test; the p-values of the whole table are
adjusted after Holm. `sanity_table` and `plot_sanity` show the cells that `sanity_cells` computes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from tfprune.errors import ConfigError
from tfprune.tables import WIDTH, make_grid

ORIGINAL = "original"
_LEVEL = 0.05
Accuracies = Mapping[str, Mapping[str, Sequence[float]]]
"""Accuracies from 0 to 1 by method and check, one per seed; checks that do not apply to a method are left out."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class SanityCell:
    """The accuracy of a method's tickets under a check.

    Attributes:
        mean: Mean accuracy over the seeds.
        deviation: Standard deviation over the seeds (of a sample); None with one seed.
        p_value: Welch's test against the original tickets, adjusted after Holm for all tests of the table; None for
            the original tickets, and with one seed.
    """

    mean: float
    deviation: float | None
    p_value: float | None

    @property
    def differs(self) -> bool:
        """Whether the accuracy differs from that of the original tickets at a level of 5 %."""
        return self.p_value is not None and self.p_value < _LEVEL


def sanity_cells(accuracies: Accuracies) -> dict[str, dict[str, SanityCell]]:
    """Computes the statistics of all runs.

    Args:
        accuracies: The results; every method includes its original tickets.

    Returns:
        Cells by method and check.
    """
    tests = {
        (method, check): p_value
        for method, checks in accuracies.items()
        for check, values in checks.items()
        if check != ORIGINAL and (p_value := welch_p_value(checks[ORIGINAL], values)) is not None
    }
    adjusted = holm(tests)
    return {
        method: {
            check: SanityCell(
                float(np.mean(values)),
                float(np.std(values, ddof=1)) if len(values) > 1 else None,
                adjusted.get((method, check)),
            )
            for check, values in checks.items()
        }
        for method, checks in accuracies.items()
    }


def sanity_table(cells: Mapping[str, Mapping[str, SanityCell]], *, width: int = WIDTH) -> str:
    """Returns a table of accuracies in percent, a row per method, a column per check; a star marks differences.

    Args:
        cells: See `sanity_cells`.
        width: Characters per line. Where the columns need more, a row per method and check.
    """
    lines = {
        method: {check.replace("_", " "): _shown(cell) for check, cell in checks.items()}
        for method, checks in cells.items()
    }
    columns = list(dict.fromkeys(check for checks in lines.values() for check in checks))
    return make_grid(("ticket", "check", "accuracy"), columns, lines, width=width)


def plot_sanity(cells: Mapping[str, Mapping[str, SanityCell]], path: str | Path) -> None:
    """Draws the table as groups of bars with their deviations.

    Args:
        cells: See `sanity_cells`.
        path: The image file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, which is not installed; pip install matplotlib") from error
    columns = list(dict.fromkeys(check for checks in cells.values() for check in checks))
    figure = Figure(figsize=(max(5.0, 1.6 * len(cells)), 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes, width = figure.add_subplot(), 0.8 / len(columns)
    for place, column in enumerate(columns):
        rows = [(row, checks[column]) for row, checks in enumerate(cells.values()) if column in checks]
        axes.bar(
            [row + (place - (len(columns) - 1) / 2) * width for row, _ in rows],
            [100 * cell.mean for _, cell in rows],
            width,
            yerr=[100 * (cell.deviation or 0) for _, cell in rows],
            capsize=2,
            label=column.replace("_", " "),
        )
    axes.set_xticks(range(len(cells)), list(cells))
    axes.set_ylabel("test accuracy, %")
    lowest = min(100 * (cell.mean - (cell.deviation or 0)) for checks in cells.values() for cell in checks.values())
    axes.set_ylim(bottom=max(0.0, lowest - 5))
    axes.legend(ncols=min(4, len(columns)), loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    figure.savefig(path)


def _shown(cell: SanityCell) -> str:
    """Returns a cell as text."""
    deviation = "" if cell.deviation is None else f" ± {100 * cell.deviation:.2f}"
    return f"{100 * cell.mean:.2f}{deviation}{' *' if cell.differs else ''}"


def welch_p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Computes Welch's t-test: the probability of a difference at least as large if both means were equal.

    Args:
        first: Results, such as accuracies of runs with several seeds.
        second: Other results.

    Returns:
        The two-sided p-value; None if there are fewer than two results on a side. If neither side varies, 1 if they are
        equal and 0 if not.

    Example:
        >>> round(welch_p_value([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 3)
        0.021

    Reference:
        B. L. Welch, Biometrika 34 (1947).
    """
    from scipy.stats import ttest_ind

    if min(len(first), len(second)) < 2:
        return None
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return float(first[0] == second[0])
    return float(ttest_ind(first, second, equal_var=False).pvalue)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusts the p-values of several tests, so that a level holds for all of them together.

    Args:
        p_values: The p-values by name of the test.

    Returns:
        The adjusted p-values, in the same order.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}

    Reference:
        S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    largest, adjusted = 0.0, {}
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = largest
    return {key: adjusted[key] for key in p_values}
