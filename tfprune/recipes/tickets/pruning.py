"""The masks of a ticket: from a criterion or a file, with the sanity checks of masks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfprune.arguments import instance
from tfprune.criteria import WeightCriterion, examples_at_once, weight_criterion
from tfprune.graph import prunable_weights
from tfprune.masks import Masks, Ticket, inverse_masks, rearranged_masks
from tfprune.recipes.data import ImageDataset, PruneBatches
from tfprune.recipes.data.dataset import IMAGES
from tfprune.recipes.models import load_checkpoint
from tfprune.recipes.tickets.config import BY_RATIO, SCORED, TicketConfig


def find_ticket(
    config: TicketConfig,
    model: keras.Model,
    data: ImageDataset,
    *,
    on_scores: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> Masks:
    """Prunes a model as the settings say, sanity checks of masks included.

    Args:
        config: The settings; the ticket is not iterative.
        model: A plain model that returns logits. It is not changed, unless the ticket is a file that holds weights.
        data: Where a criterion that uses data takes its images from.
        on_scores: Called with the scores, see `WeightCriterion`.

    Returns:
        The masks.

    Raises:
        ConfigError: The file's masks do not fit this model, or the model cannot be pruned like this.
        CheckpointError: The file cannot be read.
    """
    instance("config", config, TicketConfig, "a TicketConfig")
    instance("data", data, ImageDataset, IMAGES)
    if config.from_file:
        masks = _from_file(config, model, data)
    else:
        criterion = make_criterion(config)
        batches = prune_batches(config, model, data) if criterion.uses_data == "always" else None
        masks = criterion(
            model, config.density, batches, on_scores=on_scores, **_original_count(config, criterion, model)
        )
        if config.inverse:
            masks = inverse_masks(masks, criterion.weight_scores(model, None, batches))
    return rearranged_masks(masks, config.seed) if config.rearrange else masks


def make_criterion(config: TicketConfig) -> WeightCriterion:
    """Returns the criterion that the settings name."""
    name = "hybrid" if config.hybrid else config.ticket
    settings: dict[str, Any] = {}
    if name in BY_RATIO:
        names = ("rule", "treatment", "last_ratio", "original_quirks", "seed")
        settings = {field: getattr(config, field) for field in names}
    elif name == "lottery":
        settings = {"original_quirks": config.original_quirks}
    elif name == "snip":
        settings = {"batch_statistics": True, "batch_size": config.prune_batch_size}
    elif name == "grasp":
        settings = {"variant": "wang", "seed": config.seed, "batch_size": config.prune_batch_size}
    elif name == "synflow":
        settings = {"iterations": config.prune_iters}
    elif name == "random":
        settings = {"seed": config.seed}
    if name in SCORED:
        settings["precision"] = config.prune_precision
    return weight_criterion(name, **settings)


def prune_batches(config: TicketConfig, model: keras.Model, data: ImageDataset) -> PruneBatches:
    """Returns batches with equally many images of every class, sorted by class, as the original has them."""
    size = config.prune_batch_size or examples_at_once(model)
    return data.prune_batches(config.samples_per_class * data.num_classes, size, balanced=True, seed=config.seed)


def _original_count(config: TicketConfig, criterion: WeightCriterion, model: keras.Model) -> dict[str, Any]:
    """Returns the exact counts of the original: SNIP keeps the weight at the threshold, GraSP does not."""
    if not config.original_quirks or criterion.name not in ("snip", "grasp"):
        return {}
    total = sum(int(np.prod(weight.shape)) for weight in prunable_weights(model).values())
    kept = int(total * config.density)
    return {"kept": kept if criterion.name == "snip" else total - int(total * (1 - config.density)) + 1}


def _from_file(config: TicketConfig, model: keras.Model, data: ImageDataset) -> Masks:
    """Returns the masks in a file; unless `--init` names a model, the weights in it go into the model."""
    weights = prunable_weights(model)
    if Path(config.ticket).suffix == ".keras":
        pruned = load_checkpoint(
            config.ticket, arch=config.arch, num_classes=data.num_classes, input_shape=data.input_shape
        )
        return Masks({name: np.asarray(weight) != 0 for name, weight in prunable_weights(pruned).items()})
    ticket = Ticket.load(config.ticket)
    if config.init is None:
        ticket.start(model, arch=config.arch, num_classes=data.num_classes)
    known = all(name in weights for name in ticket.masks)
    ticket.masks.check({name: weights[name] for name in ticket.masks} if known else weights)
    return ticket.masks
