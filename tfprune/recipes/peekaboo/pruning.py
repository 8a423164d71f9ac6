"""When and how Peek-a-Boo prunes; pruning for ImageNet as a stage of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from tfprune.arguments import instance
from tfprune.criteria import WeightCriterion, examples_at_once, weight_criterion, weight_names
from tfprune.criteria.weights.gradient import DataCriterion
from tfprune.errors import ConfigError
from tfprune.masks import Masks, Ticket
from tfprune.recipes.data import ImageDataset
from tfprune.recipes.data.dataset import IMAGES
from tfprune.recipes.method import open_images
from tfprune.recipes.models import build_model, load_checkpoint
from tfprune.recipes.models.blocks import Chain
from tfprune.recipes.models.building import find_architecture
from tfprune.recipes.models.resnet import projection_names
from tfprune.recipes.peekaboo.config import PeekabooConfig, PruneImageNetConfig

_SAME = {"mag": "magnitude"}


def run(config: PruneImageNetConfig) -> Ticket:
    """Prunes a model for ImageNet before its training and writes masks and initial weights to a file.

    Args:
        config: The settings.

    Returns:
        The content of the file.

    Raises:
        TfpruneError: Something that the user can fix: settings, data, files.

    Reference:
        Chen et al., Peek-a-Boo (ICLR 2022), the authors' `main_imagenet_prune.py`.
    """
    stage = config.training()
    data = open_images(stage)
    model = initial_model(stage, data)
    masks = find_masks(stage, model, data, config.density)
    ticket = Ticket.from_model(masks, model, **model_origin(stage, data))
    ticket.save(config.out)
    print(masks.table(), *data.notes(), f"masks and initial weights of {config.arch} in {config.out}", sep="\n")
    return ticket


def pruning_schedule(config: PeekabooConfig) -> dict[int, float]:
    """Returns when to prune during a training, and how far.

    The prunings are evenly spaced up to rounding, the last one is before epoch `prune_epoch`, and each removes equally
    many weights.

    Args:
        config: Uses `density`, `prune_epoch`, `prune_shots`.

    Returns:
        From an epoch, counted from 0, to the density after the pruning before it; empty if nothing is pruned.

    Example:
        >>> pruning_schedule(PeekabooConfig(density=0.25, prune_epoch=10, prune_shots=3))
        {3: 0.75, 6: 0.5, 10: 0.25}

    Reference:
        The authors' `--prune-epoch`, "the epoch index of when (the last) pruning is performed". Their `main_cifar.py`
        rounds the interval down instead, so that of three prunings until epoch 10 the last one is before epoch 9, and
        several prunings before the first epoch stop after one; here that is an error.
    """
    if not config.prunes:
        return {}
    shots, last = config.prune_shots, config.prune_epoch
    early = {shot * last // shots: 1 - (1 - config.density) * shot / shots for shot in range(1, shots)}
    return early | {last: config.density}  # the last density exactly, without rounding


def find_masks(
    config: PeekabooConfig,
    model: keras.Model,
    data: ImageDataset,
    density: float,
    *,
    masks: Masks | None = None,
    on_scores: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> Masks:
    """Prunes a model as the settings say.

    Args:
        config: Pruner, iterations, schedule, scope, images.
        model: A plain model that returns logits. It is not changed.
        data: Where a criterion that uses data takes its images from.
        density: Fraction of the prunable weights to keep.
        masks: The result of earlier prunings.
        on_scores: Called with the scores, see `WeightCriterion`.

    Returns:
        The masks of all prunable weights.

    Raises:
        ConfigError: The pruner does not exist, or cannot score this model.
    """
    instance("config", config, PeekabooConfig, "a PeekabooConfig")
    instance("model", model, keras.Model, "a Keras model")
    instance("data", data, ImageDataset, IMAGES)
    criterion = make_criterion(config, model)
    batches = None
    if criterion.uses_data == "always":
        size = config.prune_batch_size or examples_at_once(model)
        batches = data.prune_batches(config.prune_images, size, balanced=config.prune_balanced, seed=config.seed)
    return criterion(model, density, batches, masks=masks, on_scores=on_scores)


def make_criterion(config: PeekabooConfig, model: keras.Model) -> WeightCriterion:
    """Returns the criterion that prunes this model.

    Raises:
        ConfigError: It does not exist.
    """
    name = config.pruner.lower()
    name = _SAME.get(name, name)
    if name not in weight_names():
        raise ConfigError(f"--pruner: expected one of {', '.join(weight_names())} or none, received {config.pruner!r}")
    own = {"variant": config.grasp_variant} if name == "grasp" else {}
    criterion = weight_criterion(
        name,
        **own,
        iterations=config.prune_iters,
        schedule=config.prune_schedule,
        scope=config.prune_scope,
        ignore=unpruned_layers(config, model),
        original_ties=config.original_ties,
    )
    if isinstance(criterion, DataCriterion):
        return replace(criterion, batch_size=config.prune_batch_size)
    return criterion


def initial_model(config: PeekabooConfig, data: ImageDataset) -> keras.Model:
    """Returns the model before pruning: a plain model that returns logits, new or from a file.

    Raises:
        ConfigError: The architecture or the initialization does not exist.
        CheckpointError: The file cannot be used.
    """
    shape: dict[str, Any] = {"num_classes": data.num_classes, "input_shape": data.input_shape}
    if config.trained_param is not None:
        return load_checkpoint(config.trained_param, arch=config.arch, **shape)
    return build_model(
        config.arch, **shape, seed=config.seed, init=config.init_method, stem=config.stem, padding="symmetric"
    )


def model_origin(config: PeekabooConfig, data: ImageDataset) -> dict[str, Any]:
    """Returns what decides the variables of the model; stored with masks, so that those of another one are refused."""
    return {"arch": config.arch, "num_classes": data.num_classes, "stem": config.stem}


def unpruned_layers(config: PeekabooConfig, model: keras.Model) -> tuple[str, ...]:
    """Returns the layers that keep all their weights: the classifier and the projections of shortcuts, as set.

    Args:
        config: Uses `prune_classifier`, `prune_shortcuts`, and by default the architecture.
        model: The plain model.

    Reference:
        The authors' models, where the classifier of residual models for small images is a plain layer, as are the
        projections of those for ImageNet; all other kernels have masks.
    """
    prunes_classifier = config.prune_classifier
    if prunes_classifier is None:
        prunes_classifier = isinstance(find_architecture(config.arch), Chain)
    classifier = () if prunes_classifier else classifier_names(model)
    return (*classifier, *(() if config.prune_shortcuts else projection_names(model)))


def classifier_names(model: keras.Model) -> tuple[str, ...]:
    """Returns the name of the last dense layer, which returns the logits, if there is one."""
    last = model.layers[-1]
    return (last.name,) if isinstance(last, keras.layers.Dense) else ()
