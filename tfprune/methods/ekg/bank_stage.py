"""The memory bank as a stage of a run."""

import numpy as np
from tqdm import tqdm

from tfprune.data import ImageData
from tfprune.methods.ekg.config import EKGConfig
from tfprune.methods.ekg.memory_bank import MemoryBank
from tfprune.methods.ekg.search_state import SearchResult
from tfprune.methods.ekg.subnetworks import SubNetworks
from tfprune.methods.ekg.teachers import choose_teachers
from tfprune.training import RunFolder


def build_memory_bank(config: EKGConfig, found: SearchResult, data: ImageData, run: RunFolder) -> np.ndarray:
    """Stores what the chosen interim sub-networks say to every training image.

    Args:
        config: Settings: number of teachers, batch size.
        found: The finished search.
        data: The data set.
        run: Where the bank goes, as `<dataset>_knowledge.npy`.

    Returns:
        Logits `[images, classes, teachers]`, memory-mapped.
    """
    losses = [entry.loss for entry in found.history]
    teachers = choose_teachers(losses, config.num_teacher, original_quirks=config.original_quirks)
    masks = [found.gates.mask(found.history[index].orders, found.history[index].rates) for index in teachers]
    run.file(f"{data.name}_knowledge.progress.json")
    bank = MemoryBank(run.file(f"{data.name}_knowledge.npy"))
    with tqdm(desc=f"memory bank of {len(masks)} teachers", disable=None, leave=False) as bar:

        def show(done: int, todo: int) -> None:
            bar.total = todo
            bar.update(done - bar.n)

        return bank.build(
            SubNetworks(found.model, found.groups),
            masks,
            data.train_images,
            data.normalize,
            classes=data.num_classes,
            batch_size=config.val_batch_size,
            progress=show,
        )
