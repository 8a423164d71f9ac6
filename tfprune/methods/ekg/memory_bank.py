"""The memory bank: logits of interim sub-networks on the whole training set, in a memory-mapped file."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.methods.ekg.subnetworks import SubNetworks
from tfprune.training import atomic

_FLUSH_EVERY = 50


class MemoryBank:
    """Logits `[images, classes, teachers]` float32 in a `.npy` file that is mapped, never loaded whole.

    The file is written batch by batch, and a note beside it says how far it got: an interrupted build goes on there.

    Args:
        path: The `.npy` file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._note = self.path.with_suffix(".progress.json")

    def load(self) -> np.ndarray:
        """The finished bank, memory-mapped, read-only."""
        return np.load(self.path, mmap_mode="r")

    def build(
        self,
        networks: SubNetworks,
        masks: Sequence[np.ndarray],
        images: np.ndarray,
        normalize: Callable[[np.ndarray], np.ndarray],
        *,
        classes: int,
        batch_size: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Runs every teacher over all images, with the statistics of each batch, in the images' order.

        Args:
            networks: The evaluator of the searched model.
            masks: One bool `[channels]` per teacher, best teacher first.
            images: Raw images `[n, height, width, channels]`.
            normalize: From raw images to the network's inputs.
            classes: Number of classes.
            batch_size: Images per batch; it changes the batch statistics, and with them the logits.
            progress: Called after each batch with batches done and to do.

        Returns:
            The bank, memory-mapped, read-only.
        """
        shape = (len(images), classes, len(masks))
        settings = {"shape": list(shape), "batch_size": batch_size}
        starts = range(0, len(images), batch_size)
        done = self._resume(settings)
        mode = "r+" if done else "w+"
        bank = np.lib.format.open_memmap(self.path, mode=mode, dtype=np.float32, shape=None if done else shape)
        for number, start in enumerate(starts):
            if number < done:
                continue
            batch = slice(start, start + batch_size)
            inputs = tf.constant(normalize(images[batch]))
            for teacher, mask in enumerate(masks):
                bank[batch, :, teacher] = networks.logits(mask, inputs)
            if progress:
                progress(number + 1, len(starts))
            if (number + 1) % _FLUSH_EVERY == 0 or number + 1 == len(starts):
                bank.flush()
                atomic.write_text(self._note, json.dumps({**settings, "done": number + 1}))
        del bank
        return self.load()

    def _resume(self, settings: dict[str, object]) -> int:
        """Batches that an earlier build of the same bank finished."""
        if not (self.path.exists() and self._note.exists()):
            return 0
        note = json.loads(self._note.read_text())
        return note.pop("done") if {**note, "done": None} == {**settings, "done": None} else 0
