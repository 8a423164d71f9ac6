"""From a network and settings to masks."""

import keras

from tfprune.criteria import WeightCriterion, weight_criterion, weight_names
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.peekaboo.config import PeekabooConfig

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
    criterion = make_criterion(config, model)
    batches = None
    if criterion.uses_data == "always":
        images, labels = data.prune_images(config.prune_images, balanced=config.prune_balanced, seed=config.seed)
        size = config.prune_batch_size
        batches = [(images[i : i + size], labels[i : i + size]) for i in range(0, len(images), size)]
    return criterion(model, density, batches, masks=masks)


def make_criterion(config: PeekabooConfig, model: keras.Model) -> WeightCriterion:
    """The criterion that prunes this network.

    Raises:
        ConfigError: There is no such criterion.
    """
    name = config.pruner.lower()
    name = _SAME.get(name, name)
    if name not in weight_names():
        raise ConfigError(f"--pruner: expected one of {', '.join(weight_names())} or none, received {config.pruner!r}")
    own = {"variant": config.grasp_variant} if name == "grasp" else {}
    return weight_criterion(
        name,
        **own,
        iterations=config.prune_iters,
        schedule=config.prune_schedule,
        scope=config.prune_scope,
        ignore=unpruned(config, model),
        original_ties=config.original_ties,
    )


def unpruned(config: PeekabooConfig, model: keras.Model) -> tuple[str, ...]:
    """The layers that are not pruned: the dense layer that gives the logits, unless it is asked for."""
    last = model.layers[-1]
    return (last.name,) if isinstance(last, keras.layers.Dense) and not config.prune_classifier else ()


def all_weights(config: PeekabooConfig, model: keras.Model) -> Masks:
    """Masks of ones for what could be pruned."""
    return Masks.full(prunable_weights(model, ignore=unpruned(config, model)))
