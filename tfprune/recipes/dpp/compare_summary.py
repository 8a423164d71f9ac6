"""The table and the figure of a comparison, from its rows."""

from pathlib import Path

import numpy as np

from tfprune.recipes.dpp.repeats_table import Rows, curves, write_table


def summarise(rows: Rows, folder: Path) -> str:
    """Draws the figure, writes the table, and says where they are.

    Args:
        rows: See `Row`.
        folder: Where to write `figure.png` and `table.md`.

    Returns:
        The table and what theory and simulation differ by, as text.
    """
    from tfprune.recipes.dpp.figures import error_figure  # matplotlib takes its time

    means = curves(rows, "error", at="nodes", x="parameters", other="simulated")
    unpruned = float(np.mean([row["unpruned"] for row in rows]))
    error_figure(
        folder / "figure.png",
        means,
        unpruned=unpruned,
        x_label="parameters left (crosses: simulated, first masks)",
        y_label="generalisation error",
        log=True,
    )
    counts = sorted({row["nodes"] for row in rows})
    parameters = [f"{row['parameters']:,}" for count in counts for row in rows if row["nodes"] == count]
    heads = list(dict.fromkeys(parameters))
    table = write_table(folder, "k nodes", list(map(str, counts)), means)
    return (
        f"generalisation error at equal numbers of parameters ({', '.join(heads)}):\n{table}\n"
        f"unpruned: {unpruned:.4f}\n{_agreement(rows)}\n"
        f"{folder / 'results.csv'}, {folder / 'figure.png'}, {folder / 'table.md'}"
    )


def _agreement(rows: Rows) -> str:
    ratio = [(row["simulated"] - row["simulated_theory"]) / row["simulated_standard_error"] for row in rows]
    relative = [abs(row["simulated"] / row["simulated_theory"] - 1) for row in rows]
    return (
        f"simulation against theory, {len(rows)} points: median difference {100 * np.median(relative):.2f} %, largest "
        f"{100 * max(relative):.2f} %, largest in standard errors {np.abs(ratio).max():.1f}"
    )
