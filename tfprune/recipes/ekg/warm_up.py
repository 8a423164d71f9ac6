"""The short training before a search, which adapts the network to plain images without augmentation."""

import keras
import numpy as np

from tfprune.errors import SearchError
from tfprune.graph import convert
from tfprune.optimizers import SGD
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.training import CrossEntropy, Loop

_LEARNING_RATE = 1e-3


def warm_up(
    config: EKGConfig, model: keras.Model, data: ImageDataset, subset: np.ndarray
) -> tuple[keras.Model, list[float]]:
    """Trains a copy of a model for one pass over a fixed subset, in fixed batches.

    The original divides the loss by the fine-tuning batch size instead of the batch it sums over, which doubles the
    gradient with its defaults; that is done here only with `original_quirks`.

    Args:
        config: Batch sizes, weight decay, compilation.
        model: A plain model. It is not changed.
        data: The data set.
        subset: Positions in the training images, in the order to use them.

    Returns:
        The trained plain model, and the loss of each step.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `pruning.py`.
    """
    fast = convert(model, "fused")
    optimizer = SGD(_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    size = min(config.search_batch_size, len(subset))
    divisor = config.batch_size if config.original_quirks else size
    loop = Loop(fast, optimizer, CrossEntropy(), global_batch_size=divisor, compile=config.compile)
    batches = data.plain_batches(size, subset, drop_remainder=True)
    losses = [loop.train_step(batch)["loss"] * size / divisor for batch in batches]
    if not np.isfinite(losses[-1]):
        raise SearchError("the short training before the search diverged; expected a trained network to start from")
    return convert(fast, "plain"), losses
