"""The memory bank: logits of interim sub-networks on the whole training set, on the disk."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfprune.arguments import whole_number
from tfprune.errors import RunFolderError, check_choice
from tfprune.files import as_path, replaced_file, write_text
from tfprune.reading import RefusedError, open_file, read_json, reading
from tfprune.recipes.data import ImageDataset, ShardedRows
from tfprune.recipes.ekg.config import KnowledgeType
from tfprune.search.subnetworks import SubNetworks

SHARD_IMAGES = 12_800
_FORMAT = "tfprune memory bank 1"
_USED = 1e6


class MemoryBank:
    """Logits `[images, classes, teachers]` in a folder of shards that are mapped, never loaded whole.

    Each shard has a checksum; an interrupted build goes on with the first one that is missing or damaged.

    Args:
        folder: The folder, which exists.
        dtype: Number format: `float32`, or `float16`, which takes half the room and errs by up to a 2000th of a logit.
        shard_images: Images in a shard, rounded down to whole batches (one at least).
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, dtype: str = "float32", shard_images: int = SHARD_IMAGES
    ) -> None:
        self.folder = as_path(folder)
        check_choice("dtype", dtype, KnowledgeType)
        self.dtype = dtype
        self.shard_images = whole_number("shard_images", shard_images)

    def build(
        self,
        networks: SubNetworks,
        masks: Sequence[np.ndarray],
        data: ImageDataset,
        *,
        batch_size: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> ShardedRows:
        """Runs every teacher over all training images, with the statistics of each batch, in the images' order.

        Rows of images that cannot be read are 0; such an image is in no training batch either.

        Args:
            networks: The evaluator of the searched model.
            masks: One bool `[channels]` per teacher, best teacher first.
            data: The data set.
            batch_size: Images per batch; it changes the batch statistics, and with them the logits.
            progress: Called after each batch with batches done and to do.

        Returns:
            The bank, memory-mapped, read-only.

        Raises:
            RunFolderError: It does not fit on the disk, or cannot be written.
        """
        images = data.train_examples
        length = min(max(self.shard_images // batch_size, 1) * batch_size, images)
        starts = range(0, images, length)
        settings = {
            "shape": [images, data.num_classes, len(masks)],
            "dtype": self.dtype,
            "batch_size": batch_size,
            "shard_images": length,
            "teachers": _digest(networks, masks),
        }
        lengths = [min(length, images - start) for start in starts]
        kind = (data.num_classes, len(masks))
        shards = BankShards(self.folder, settings, lengths, (kind, self.dtype))
        missing = shards.missing()
        size = BankSize(images, data.num_classes, len(masks), self.dtype)
        room = size.check(self.folder, there=size.bytes * (len(lengths) - len(missing)) // len(lengths))
        if missing:
            tqdm.write(room)  # not on the line of a progress bar
        todo = sum(-(-lengths[number] // batch_size) for number in missing)
        done = 0
        for number in missing:
            positions = np.arange(starts[number], starts[number] + lengths[number])
            rows = np.zeros((len(positions), *kind), np.float32)
            for batch in data.plain_batches(batch_size, positions):
                places = np.asarray(batch["positions"]) - positions[0]
                for teacher, mask in enumerate(masks):
                    rows[places, :, teacher] = networks.logits(mask, batch["images"])
                done += 1
                if progress:
                    progress(done, todo)
            shards.write(number, rows)
        return shards.rows()


def _digest(networks: SubNetworks, masks: Sequence[np.ndarray]) -> str:
    """Returns a digest of the model and the teachers that the logits come from."""
    content = hashlib.sha256()
    for mask in masks:
        content.update(np.packbits(mask).tobytes())
    for call in networks.groups.calls:
        for variable in getattr(call.layer, "variables", ()):
            content.update(np.asarray(variable).tobytes())
    return content.hexdigest()


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
        """Returns the shards that are missing or damaged, and prints which were damaged."""
        missing = []
        for number in range(len(self.lengths)):
            file = self._file(number)
            expected = self._sums.get(file.name)
            if expected is None or not file.exists():
                missing.append(number)
            elif _checksum(file) != expected:
                tqdm.write(f"{file} is damaged: it is computed again")
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
        """Returns all rows, memory-mapped and read-only.

        Raises:
            RunFolderError: A shard has another shape than it should.
        """
        shape, dtype = self._kind
        shards = []
        for number, length in enumerate(self.lengths):
            file = self._file(number)
            with reading(file, "a shard of this bank", error=RunFolderError, advice=f"remove {self.folder}"):
                shard = np.load(file, mmap_mode="r", allow_pickle=False)
                if not isinstance(shard, np.ndarray) or shard.shape != (length, *shape) or shard.dtype != dtype:
                    raise RefusedError("it holds other rows")
            shards.append(shard)
        return ShardedRows(shards)

    def _file(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.npy"

    def _read_note(self) -> dict[str, Any] | None:
        with reading(self._note, "the note of a memory bank", error=RunFolderError, advice="remove it"):
            try:
                note = read_json(self._note)
                return note if isinstance(note["sha256"], dict) else None
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                return None  # a bank not begun, or its note damaged: what it described cannot be told from other files

    def _remove(self) -> None:
        self._note.unlink(missing_ok=True)
        for file in self.folder.glob("shard-*.npy"):
            file.unlink()


def _save(file: Path, rows: np.ndarray) -> None:
    """Saves an array as `numpy.save` does, but keeps the system's error message if the disk is full."""
    with file.open("wb") as opened:
        np.lib.format.write_array_header_1_0(opened, np.lib.format.header_data_from_array_1_0(rows))
        opened.write(np.ascontiguousarray(rows).data)


def _checksum(file: Path) -> str:
    with reading(file, "a shard of a memory bank", error=RunFolderError, advice="remove it"), open_file(file) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class BankSize:
    """The numbers in a memory bank.

    Attributes:
        images: Training images.
        classes: Classes.
        teachers: Interim sub-networks.
        dtype: Number format, `float16` or `float32`.

    Example:
        >>> str(BankSize(1_281_167, 1000, 5, "float16"))
        'memory bank: 1,281,167 images x 1,000 classes x 5 teachers in float16, 12.81 GB'
    """

    images: int
    classes: int
    teachers: int
    dtype: str

    @property
    def bytes(self) -> int:
        """Bytes on the disk."""
        return self.images * self.classes * self.teachers * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return (
            f"memory bank: {self.images:,} images x {self.classes:,} classes x {self.teachers:,} teachers in "
            f"{self.dtype}, {_gigabytes(self.bytes)}"
        )

    def check(self, folder: Path, *, there: int = 0) -> str:
        """Finds out whether it fits.

        Args:
            folder: Where it is to lie; exists.
            there: Bytes of it that are there already.

        Returns:
            What a user should be told: its size, and the room there is.

        Raises:
            RunFolderError: It does not fit.
        """
        free = shutil.disk_usage(folder).free
        said = f"{self} in {folder}, {_gigabytes(free)} free"
        if self.bytes - there > free:
            smaller = ", --knowledge_dtype float16" if self.dtype == "float32" else ""
            raise RunFolderError(
                f"no room for the {said}; make room, or take another --train_path{smaller} or fewer --num_teacher"
            )
        return said


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.2f} MB"


def choose_teachers(losses: Sequence[float] | np.ndarray, count: int, *, original_quirks: bool = False) -> list[int]:
    """Picks teachers whose losses are spread evenly from the least to the greatest.

    The wanted losses are `min + j (max - min) / count` for `j = 0 .. count - 1`; for each in turn the nearest entry
    that is not taken yet is picked.

    Args:
        losses: Label loss of each entry of a search's history.
        count: Teachers wanted.
        original_quirks: Step through the wanted losses as the original does, which now and then gives a teacher too
            many, and repeats the first entry where there are fewer entries than teachers.

    Returns:
        Indices into `losses`, the least loss first; at most as many as there are entries.

    Reference:
        Lee & Song, EKG (ECCV 2022), memory bank: interpolation between the losses of the found and the full network.
    """
    losses = np.asarray(losses)
    order = np.argsort(losses)
    ascending = losses[order] + (np.arange(len(losses)) * 1e-12).astype(losses.dtype)
    low, high = ascending.min(), ascending.max()
    if original_quirks and high > low:
        wanted = np.arange(low, high, (high - low) / count)
    else:
        wanted = low + (high - low) / count * np.arange(min(count, len(losses)))
    chosen = []
    for loss in wanted:
        nearest = int(np.argmin(np.abs(ascending - loss)))
        chosen.append(int(order[nearest]))
        ascending[nearest] = _USED
    return chosen
