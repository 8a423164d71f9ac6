import numpy as np
import pytest
from rank_correlations import cell, markdown, plot

MEASURES = {"up": "rises", "down": "falls"}


@pytest.fixture
def table():
    outcome = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    return {"outcome": outcome, "up": outcome**3, "down": np.array([6.0, 5.0, 4.0, 3.0, 1.0, 2.0])}


def test_monotone_measures_have_a_correlation_of_one(table):
    lines = markdown(table, MEASURES, "outcome", "up").splitlines()
    assert lines[2] == "| rises | +1.00 (+1.00 to +1.00) | +1.00 (+1.00 to +1.00) |  |"
    # Spearman: 1 - 6 * (sum of squared differences of the ranks) / (n^3 - n); Kendall: one of 15 pairs is in order
    ranks, reverse = np.arange(1, 7), np.array([6, 5, 4, 3, 1, 2])
    spearman = 1 - 6 * ((ranks - reverse) ** 2).sum() / (6**3 - 6)
    assert lines[3].startswith(f"| falls | {spearman:+.2f} (")
    assert f"| {(1 - 14) / 15:+.2f} (" in lines[3]


def test_intervals_are_those_of_drawn_rows(table):
    outcome = table["outcome"]
    drawn = np.random.default_rng(0)
    means = [outcome[rows].mean() for rows in (drawn.integers(0, 6, 6) for _ in range(2000)) if len(set(rows)) > 2]
    low, high = np.percentile(means, (2.5, 97.5))
    assert cell(lambda rows: float(outcome[rows].mean()), 6) == f"{outcome.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def test_a_panel_for_each_measure(table, tmp_path):
    plot(table, MEASURES, ("outcome", "accuracy"), np.array(["a", "b"] * 3), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
