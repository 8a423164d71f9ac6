"""How a network is trained, whatever it is and whatever trains it."""

from dataclasses import dataclass

from tfprune.data import View
from tfprune.training.compilation import Compile


@dataclass(frozen=True)
class Recipe:
    """What every training of a network on a data set needs to be told.

    Attributes:
        epochs: Epochs of the schedule.
        batch_size: Batch size of training, over all devices.
        seed: Seed of data order and augmentation.
        views: Views of each image, see `tfprune.data.training_batches`.
        view: What changes the augmented images, if anything.
        val_batch_size: Batch size of evaluation.
        compile: XLA: on, off or auto.
        accumulate: Chunks that a batch is cut into.
        log_every: Steps between two log lines; 0 for none.
        test_each_epoch: Evaluate after each epoch.
    """

    epochs: int
    batch_size: int
    seed: int = 0
    views: int = 1
    view: View | None = None
    val_batch_size: int = 256
    compile: Compile = "auto"
    accumulate: int = 1
    log_every: int = 200
    test_each_epoch: bool = True
