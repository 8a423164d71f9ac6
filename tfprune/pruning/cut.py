"""Cutting a model, and its optimizer's state with it."""

import warnings
from typing import Any

import keras
import numpy as np

from tfprune.graph import ChannelGroups, slim
from tfprune.pruning.batches import image_batches
from tfprune.pruning.optimizer_state import carry_optimizer
from tfprune.pruning.reweighting import reweight
from tfprune.pruning.reweighting_warning import ReweightingWarning


def cut(
    model: keras.Model, mask: np.ndarray, groups: ChannelGroups, *, keep_optimizer: bool, data: Any = None
) -> keras.Model:
    """Copies a model without the masked channels.

    Args:
        model: The model. It is not changed.
        mask: Bool `[channels]`, True for what stays.
        groups: The model's channel groups.
        keep_optimizer: Carry the state of its optimizer over.
        data: Let the kernels that read cut channels make up for them on this data, see `reweight`. None: do not.

    Returns:
        A new model, compiled like the old one.

    Raises:
        ConfigError: The data is nothing that can be used.
        PruningError: The optimizer's state cannot be carried over.
    """
    small = slim(model, mask, groups)
    if data is not None:
        batches = (batch["images"] for batch in image_batches(data, "reweight"))
        if skipped := reweight(small, model, mask, groups, batches):
            warnings.warn(ReweightingWarning(skipped), stacklevel=3)
    if keep_optimizer:
        carry_optimizer(model, small, mask, groups)
    return small
