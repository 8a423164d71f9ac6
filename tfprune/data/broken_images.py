"""Images that could not be read."""

import numpy as np

from tfprune.data.encoded_images import EncodedImages


class BrokenImages:
    """Keeps account of them while data are used.

    Args:
        images: The images of a part of a data set.
        kind: `training` or `test`.
    """

    def __init__(self, images: EncodedImages, kind: str) -> None:
        self._images = images
        self._kind = kind
        self._positions: set[int] = set()

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, positions: np.ndarray) -> np.int64:
        """Notes some, from any thread; returns how many there are."""
        self._positions.update(positions.tolist())
        return np.int64(len(self._positions))

    def notes(self) -> tuple[str, ...]:
        """A line about them, if there are any."""
        if not self._positions:
            return ()
        count, example = len(self._positions), self._images.describe(min(self._positions))
        what = (
            f"image of {len(self._images)} could not be read and was"
            if count == 1
            else (f"images of {len(self._images)} could not be read and were")
        )
        return (f"{count} {self._kind} {what} passed over{'' if count == 1 else ', the first of them'}: {example}",)
