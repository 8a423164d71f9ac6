"""Writes what `soak.py` has counted into `docs/runs.md`: a summary, and a row for each case.

    python benchmarks/soak_table.py

The text around the part stays.
"""

import argparse
import csv
import sys
import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from pages import DOCS, rewrite
from program import new_parser

RESULTS = Path(__file__).parent / "results" / "soak.csv"
PARTS = 5
_COLUMNS = ("case", "processes", "stages", "kills", "while writing", "kills in each fifth", "refused", "runs")
Row = dict[str, str]


def soak_table(rows: Sequence[Row]) -> str:
    """Returns the part of the page.

    Args:
        rows: Those of the file.
    """
    lines = [_line(case, list(stages)) for case, stages in groupby(rows, lambda row: row["case"])]
    noticed = max(float(row["noticed_seconds"] or 0) for row in rows)
    workers = sum(_total([row], "kills") for row in rows if row["workers"] != "1")
    differences = sum(int(row["differences"]) for row in _cases(rows))
    runs = sum(int(row["runs"]) for row in _cases(rows))
    stages = sum(row["kills"] != "0" for row in rows)
    summary = (
        f"**{_total(rows, 'kills')} kills in {stages} stages** of {len(lines)} cases, "
        f"{_total(rows, 'kills_while_writing')} of them as soon as something was being written, {workers} of a "
        f"worker of two (the other one ended by itself after {noticed:.0f} s at most); {_total(rows, 'refused')} "
        f"second processes refused; {runs} runs, **{differences} differences** from runs that were left alone. By "
        f"fifths of the stages: {_fifths(rows)} kills."
    )
    rule = "|" + "---|" * len(_COLUMNS)
    return "\n".join([*textwrap.wrap(summary, 120), "", f"| {' | '.join(_COLUMNS)} |", rule, *lines])


def _line(case: str, rows: list[Row]) -> str:
    cells = (
        case,
        rows[0]["workers"],
        ", ".join(f"{row['stage']} {row['kills']}" for row in rows),
        _total(rows, "kills"),
        _total(rows, "kills_while_writing"),
        _fifths(rows),
        _total(rows, "refused"),
        rows[0]["runs"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def _cases(rows: Sequence[Row]) -> list[Row]:
    """Returns a row of each case; what the rows of a case tell of all its runs is the same in all of them."""
    return list({row["case"]: row for row in rows}.values())


def _total(rows: Sequence[Row], column: str) -> int:
    return sum(int(row[column]) for row in rows)


def _fifths(rows: Sequence[Row]) -> str:
    """Returns how many kills came in each fifth of the CPU time of their stage; later ones are in the last."""
    moments = [float(moment.rstrip("w")) for row in rows for moment in row["moments"].split()]
    parts = [min(int(moment * PARTS), PARTS - 1) for moment in moments]
    return ", ".join(str(parts.count(part)) for part in range(PARTS))


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--page", type=Path, default=DOCS / "runs.md", help="the page to write into")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table into the page."""
    page = make_parser().parse_args(arguments).page
    with RESULTS.open(encoding="utf-8", newline="") as file:
        rewrite(page, "soak_table.py", soak_table(list(csv.DictReader(file))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
