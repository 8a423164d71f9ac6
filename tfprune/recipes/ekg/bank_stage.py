"""The memory bank as a stage of a run."""

from tqdm import tqdm

from tfprune.recipes.data import ImageDataset, ShardedRows
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.ekg.memory_bank import BankSize, MemoryBank, choose_teachers
from tfprune.recipes.training import RunFolder
from tfprune.search.state import SearchResult
from tfprune.search.subnetworks import SubNetworks


def build_memory_bank(config: EKGConfig, found: SearchResult, data: ImageDataset, run: RunFolder) -> ShardedRows:
    """Stores what the chosen interim sub-networks say to every training image.

    Args:
        config: Settings: number of teachers, batch size, number format, length of a shard.
        found: The finished search.
        data: The data set.
        run: Where the bank goes, into `<dataset>_knowledge`.

    Returns:
        Logits `[images, classes, teachers]`, memory-mapped.

    Raises:
        RunFolderError: It does not fit on the disk, or cannot be written.
    """
    losses = [entry.loss for entry in found.history]
    teachers = choose_teachers(losses, config.num_teacher, original_quirks=config.original_quirks)
    masks = [found.gates.mask(found.history[index].orders, found.history[index].rates) for index in teachers]
    bank = MemoryBank(
        run.folder(f"{data.name}_knowledge"), dtype=config.knowledge_dtype, shard_images=config.knowledge_shard
    )
    with tqdm(desc=f"memory bank of {len(masks)} teachers", disable=None, leave=False) as bar:

        def show(done: int, todo: int) -> None:
            bar.total = todo
            bar.update(done - bar.n)

        return bank.build(
            SubNetworks(found.model, found.groups), masks, data, batch_size=config.val_batch_size, progress=show
        )


def check_room(config: EKGConfig, data: ImageDataset, run: RunFolder) -> None:
    """Finds out before hours of work whether the memory bank will fit.

    Raises:
        RunFolderError: It does not.
    """
    if config.searching and config.Knowledge and config.train_epoch:
        folder = run.folder(f"{data.name}_knowledge")
        there = sum(file.stat().st_size for file in folder.glob("shard-*.npy"))
        BankSize(data.train_examples, data.num_classes, config.num_teacher, config.knowledge_dtype).check(
            folder, there=there
        )
