"""What comparisons over several networks write: rows to a CSV file, means over the networks to a table and a figure."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import RunFolderError
from tfprune.files import write_text

Rows = Sequence[Mapping[str, Any]]
Curves = dict[str, list[tuple[float, float, float, float]]]
"""By label: x, mean, standard error, and another number (NaN for none) of each point."""


def made_folder(path: str) -> Path:
    """The folder, made if it is not there; `RunFolderError` if it cannot be."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make the folder {folder}: {error}; name another") from error
    return folder


def write_rows(folder: Path, rows: Rows) -> None:
    """Writes `results.csv`; all rows have the fields of the first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "results.csv", buffer.getvalue())


def label(row: Mapping[str, Any]) -> str:
    """How a row's way of pruning is called."""
    return row["choice"] + (" reweighted" if row["reweight"] else "")


def curves(rows: Rows, value: str, *, at: str, x: str, other: str | None = None) -> Curves:
    """Means over the repeats.

    Args:
        rows: Rows with `choice`, `reweight`, `standard_error` and the fields below.
        value: What is averaged.
        at: What rows of one point have in common.
        x: What is the point's x.
        other: What is averaged besides.

    Returns:
        The curves by their label, in the order of the rows; points ascend in `at`.
    """
    found: Curves = {}
    for name in dict.fromkeys(map(label, rows)):
        mine = [row for row in rows if label(row) == name]
        for point in sorted({row[at] for row in mine}):
            here = [row for row in mine if row[at] == point]
            extra = float("nan") if other is None else float(np.mean([row[other] for row in here]))
            found.setdefault(name, []).append((here[0][x], *_mean(here, value), extra))
    return found


def _mean(rows: Rows, value: str) -> tuple[float, float]:
    """Mean over the repeats, and its standard error: over the repeats, or over the masks if there is one."""
    values = np.array([row[value] for row in rows])
    if len(values) == 1:
        return float(values[0]), float(rows[0]["standard_error"])
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def write_table(folder: Path, head: str, columns: Sequence[str], lines: Curves) -> str:
    """Writes `table.md`, means with their standard errors, and returns it."""
    text = [f"| {head} | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name, points in lines.items():
        text.append(f"| {name} | " + " | ".join(f"{y:.3f} ± {spread:.3f}" for _, y, spread, _ in points) + " |")
    table = "\n".join(text)
    write_text(folder / "table.md", table + "\n")
    return table
