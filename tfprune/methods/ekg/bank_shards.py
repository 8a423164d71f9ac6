"""The files of a memory bank."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.data import ShardedRows
from tfprune.errors import RunFolderError
from tfprune.files import replaced_file, write_text

_FORMAT = "tfprune memory bank 1"


class BankShards:
    """A folder of `.npy` files with the rows of a bank, one after the other, and a note with their checksums.

    A shard counts from when the note says so, which is after its file is complete; one whose content is not that of the
    note does not count.

    Args:
        folder: The folder, which exists.
        settings: What decides the content, as plain values. Shards that others left are removed.
        lengths: Rows of each shard.
        kind: Shape of a row, and number format.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], lengths: list[int], kind: tuple[tuple[int, ...], str]
    ) -> None:
        self.folder = folder
        self.lengths = lengths
        self._kind = kind
        self._note = folder / "bank.json"
        self._settings = {"format": _FORMAT, **json.loads(json.dumps(settings))}
        self._sums: dict[str, str] = {}
        note = self._read_note()
        if note is not None and {key: value for key, value in note.items() if key != "sha256"} == self._settings:
            self._sums = note["sha256"]
        else:
            self._remove()

    def missing(self) -> list[int]:
        """The shards that are not there, or not as they were written; says which were damaged."""
        missing = []
        for number in range(len(self.lengths)):
            file = self._file(number)
            expected = self._sums.get(file.name)
            if expected is None or not file.exists():
                missing.append(number)
            elif _checksum(file) != expected:
                print(f"{file} is damaged: it is made again")
                missing.append(number)
        return missing

    def write(self, number: int, rows: np.ndarray) -> None:
        """Writes a shard.

        Raises:
            RunFolderError: The rows are not finite in the bank's number format.
            WriteError: There is no room.
        """
        with np.errstate(over="ignore"):  # said below
            rows = rows.astype(self._kind[1], copy=False)
        if not np.isfinite(rows).all():
            raise RunFolderError(
                f"logits of the teachers are beyond {self._kind[1]}; take --knowledge_dtype float32, or a network that "
                "did not diverge"
            )
        file = self._file(number)
        with replaced_file(file) as partial:
            _save(partial, rows)
            checksum = _checksum(partial)
        self._sums[file.name] = checksum
        write_text(self._note, json.dumps({**self._settings, "sha256": self._sums}, indent=1) + "\n")

    def rows(self) -> ShardedRows:
        """All rows, memory-mapped and read-only.

        Raises:
            RunFolderError: A shard has another shape than it should.
        """
        shape, dtype = self._kind
        shards = []
        for number, length in enumerate(self.lengths):
            shard = np.load(self._file(number), mmap_mode="r", allow_pickle=False)
            if shard.shape != (length, *shape) or shard.dtype != dtype:
                raise RunFolderError(f"{self._file(number)} is not a shard of this memory bank; remove {self.folder}")
            shards.append(shard)
        return ShardedRows(shards)

    def _file(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.npy"

    def _read_note(self) -> dict[str, Any] | None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            return note if isinstance(note["sha256"], dict) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # a bank not begun, or its note damaged: what it described cannot be told from other files

    def _remove(self) -> None:
        self._note.unlink(missing_ok=True)
        for file in self.folder.glob("shard-*.npy"):
            file.unlink()


def _save(file: Path, rows: np.ndarray) -> None:
    """What `numpy.save` does, but with the system's own words if the disk is full."""
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, np.lib.format.header_data_from_array_1_0(rows))
        opened.write(np.ascontiguousarray(rows).data)


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
