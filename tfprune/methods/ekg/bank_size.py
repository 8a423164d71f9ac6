"""How much room a memory bank takes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.errors import RunFolderError


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
