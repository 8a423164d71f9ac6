"""The memory bank: logits of interim sub-networks on the whole training set, on the disk."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfprune.data import ImageDataset, ShardedRows
from tfprune.methods.ekg.bank_shards import BankShards
from tfprune.methods.ekg.bank_size import BankSize
from tfprune.methods.ekg.subnetworks import SubNetworks

SHARD_IMAGES = 12_800


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
        self.folder = Path(folder)
        self.dtype = dtype
        self.shard_images = shard_images

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
            print(room)
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
    """What the logits come from: another model or other teachers would be another bank."""
    content = hashlib.sha256()
    for mask in masks:
        content.update(np.packbits(mask).tobytes())
    for call in networks.groups.calls:
        for variable in getattr(call.layer, "variables", ()):
            content.update(np.asarray(variable).tobytes())
    return content.hexdigest()
