"""The table and the figure of a comparison, from its rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]


def summarise(rows: Rows, folder: Path) -> str:
    """Draws the figure, writes the table, and says where they are.

    Args:
        rows: See `Row`.
        folder: Where to write `figure.png` and `table.md`.

    Returns:
        The table and what theory and simulation differ by, as text.
    """
    from tfprune.methods.dpp.figures import error_figure  # matplotlib takes its time
    from tfprune.training.atomic import write_text

    curves: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in rows:
        curves.setdefault(_label(row), [])
    counts = sorted({row["nodes"] for row in rows})
    for label, points in curves.items():
        for count in counts:
            found = [row for row in rows if _label(row) == label and row["nodes"] == count]
            points.append((found[0]["parameters"], *_mean(found), float(np.mean([row["simulated"] for row in found]))))
    unpruned = float(np.mean([row["unpruned"] for row in rows]))
    error_figure(
        folder / "figure.png",
        curves,
        unpruned=unpruned,
        x_label="parameters left (crosses: simulated, first masks)",
        y_label="generalisation error",
        log=True,
    )
    parameters = [f"{row['parameters']:,}" for count in counts for row in rows if row["nodes"] == count]
    heads = list(dict.fromkeys(parameters))
    lines = ["| k nodes | " + " | ".join(map(str, counts)) + " |", "|" + "---|" * (len(counts) + 1)]
    for label, points in curves.items():
        lines.append(f"| {label} | " + " | ".join(f"{y:.3f} ± {spread:.3f}" for _, y, spread, _ in points) + " |")
    table = "\n".join(lines)
    write_text(folder / "table.md", table + "\n")
    return (
        f"generalisation error at equal numbers of parameters ({', '.join(heads)}):\n{table}\n"
        f"unpruned: {unpruned:.4f}\n{_agreement(rows)}\n"
        f"{folder / 'results.csv'}, {folder / 'figure.png'}, {folder / 'table.md'}"
    )


def _label(row: Mapping[str, Any]) -> str:
    return row["choice"] + (" reweighted" if row["reweight"] else "")


def _mean(rows: Rows) -> tuple[float, float]:
    """Mean over the repeats, and its standard error: over the repeats, or over the masks if there is one."""
    errors = np.array([row["error"] for row in rows])
    if len(errors) == 1:
        return float(errors[0]), float(rows[0]["standard_error"])
    return float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(len(errors)))


def _agreement(rows: Rows) -> str:
    ratio = [(row["simulated"] - row["simulated_theory"]) / row["simulated_standard_error"] for row in rows]
    relative = [abs(row["simulated"] / row["simulated_theory"] - 1) for row in rows]
    return (
        f"simulation against theory, {len(rows)} points: median difference {100 * np.median(relative):.2f} %, largest "
        f"{100 * max(relative):.2f} %, largest in standard errors {np.abs(ratio).max():.1f}"
    )
