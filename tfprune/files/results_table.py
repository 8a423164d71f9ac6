"""One table for the results of many runs, some of which may end at the same time."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfprune.errors import RunFolderError
from tfprune.files.folder_lock import folder_lock
from tfprune.files.writing import writing


class ResultsTable:
    """A CSV file to which runs append a row each, one process after the other.

    Args:
        path: The file; it, and its folder, are made with the first row.
        columns: Names of the columns.
        key: Those of them that tell rows apart.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        self._path = path
        self._columns = list(columns)
        self._key = list(key)

    def check(self) -> None:
        """Raises an error if rows could not be appended; worth knowing before a long run.

        Raises:
            RunFolderError: The table has other columns, or cannot be read.
        """
        self._rows(self._whole_lines())

    def append(self, row: Mapping[str, object]) -> None:
        """Adds a row, unless one of the same key is there: it was written before the run was resumed.

        A line that a killed process left unfinished is removed.

        Args:
            row: A value for each column.

        Raises:
            RunFolderError: The table has other columns, or cannot be written.
        """
        with folder_lock(self._path.parent):
            whole = self._whole_lines()
            rows = self._rows(whole)
            values = {name: "" if row[name] is None else str(row[name]) for name in self._columns}
            if any(all(each.get(name) == values[name] for name in self._key) for each in rows):
                return
            self._write(len(whole), values, header=not whole)

    def _whole_lines(self) -> bytes:
        """The file without what follows its last line break."""
        if not self._path.exists():
            return b""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            raise RunFolderError(f"cannot read {self._path}: {error.strerror}; move it away") from error
        return content[: content.rfind(b"\n") + 1]

    def _rows(self, lines: bytes) -> list[dict[str, str]]:
        reader = csv.DictReader(io.StringIO(lines.decode("utf-8", errors="replace")))
        if lines and list(reader.fieldnames or ()) != self._columns:
            raise RunFolderError(
                f"expected the columns {', '.join(self._columns)} in {self._path}, found "
                f"{', '.join(reader.fieldnames or ())}; move the file away, or write to another folder"
            )
        return list(reader)

    def _write(self, place: int, values: Mapping[str, str], *, header: bool) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerow(values)
        with writing(self._path), self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.truncate(place)
            file.seek(place)
            file.write(text.getvalue().encode())
