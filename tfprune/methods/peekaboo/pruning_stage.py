"""From a network and settings to masks."""

import keras

from tfprune.criteria import weight_criterion
from tfprune.data import ImageDataset
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.methods.peekaboo.config import PeekabooConfig

_SAME = {"mag": "magnitude"}


def find_masks(
    config: PeekabooConfig, model: keras.Model, data: ImageDataset, density: float, *, masks: Masks | None = None
) -> Masks:
    """Prunes a network as the settings say.

    Args:
        config: Pruner, iterations, schedule, scope, images.
        model: A plain model that gives logits. It is not changed.
        data: Where a criterion that looks at data takes its images from.
        density: Fraction of the prunable weights to keep.
        masks: What earlier prunings left.

    Returns:
        The masks of all prunable weights.

    Raises:
        ConfigError: There is no such pruner, or it cannot judge this network.
    """
    pruner = config.pruner.lower()
    criterion = weight_criterion(
        _SAME.get(pruner, pruner),
        iterations=config.prune_iters,
        schedule=config.prune_schedule,
        scope=config.prune_scope,
        ignore=unpruned(config, model),
        original_ties=config.original_ties,
    )
    batches = None
    if criterion.needs_data:
        images, labels = data.prune_images(config.prune_images, balanced=config.prune_balanced, seed=config.seed)
        size = config.prune_batch_size
        batches = [(images[i : i + size], labels[i : i + size]) for i in range(0, len(images), size)]
    return criterion(model, density, batches, masks=masks)


def unpruned(config: PeekabooConfig, model: keras.Model) -> tuple[str, ...]:
    """The layers that are not pruned: the dense layer that gives the logits, unless it is asked for."""
    last = model.layers[-1]
    return (last.name,) if isinstance(last, keras.layers.Dense) and not config.prune_classifier else ()


def all_weights(config: PeekabooConfig, model: keras.Model) -> Masks:
    """Masks of ones for what could be pruned."""
    return Masks.full(prunable_weights(model, ignore=unpruned(config, model)))
