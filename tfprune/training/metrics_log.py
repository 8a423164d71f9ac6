"""Rows of numbers on disk, as CSV for people and JSON lines for programs."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from tfprune.errors import RunFolderError
from tfprune.files import write_text, writing

Row: TypeAlias = dict[str, float | str]


class MetricsLog:
    """A growing table in `<stem>.csv` and `<stem>.jsonl`; its rows carry a `step`, by which they are cut on resuming.

    Args:
        stem: Path of the two files without their suffix.
        last_step: Rows of a later step are dropped: they were written after the checkpoint that is continued.

    Attributes:
        rows: The rows that stand in the files.
    """

    def __init__(self, stem: Path, *, last_step: int) -> None:
        self._csv = stem.with_name(stem.name + ".csv")
        self._jsonl = stem.with_name(stem.name + ".jsonl")
        self.rows = [row for row in self._read() if float(row["step"]) <= last_step]
        write_text(self._jsonl, "".join(json.dumps(row) + "\n" for row in self.rows))
        write_text(self._csv, self._as_csv(self.rows, header=True) if self.rows else "")

    def append(self, row: Mapping[str, float | str]) -> None:
        """Writes a row; it survives the process being killed right after.

        Raises:
            RunFolderError: If its columns are not those of the rows before, or it cannot be written.
        """
        if self.rows and list(row) != list(self.rows[0]):
            raise RunFolderError(f"{self._csv}: expected the columns {list(self.rows[0])}, received {list(row)}")
        # The first of the two counts; the other is made of it when the table is opened again.
        with writing(self._jsonl), self._jsonl.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        with writing(self._csv), self._csv.open("a", encoding="utf-8", newline="") as file:
            file.write(self._as_csv([dict(row)], header=not self.rows))
        self.rows.append(dict(row))

    def _read(self) -> list[Row]:
        if not self._jsonl.exists():
            return []
        rows = []
        for line in self._jsonl.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # the process was killed, or the disk was full, while it wrote this row
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunFolderError(f"{self._jsonl} is damaged: line {len(rows) + 1} is no row; remove it") from error
        return rows

    @staticmethod
    def _as_csv(rows: list[Row], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
