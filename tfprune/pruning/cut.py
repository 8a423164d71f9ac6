"""Cutting a model, and its optimizer's state with it."""

import keras
import numpy as np

from tfprune.graph import ChannelGroups, slim
from tfprune.pruning.optimizer_state import carry_optimizer


def cut(model: keras.Model, mask: np.ndarray, groups: ChannelGroups, *, keep_optimizer: bool) -> keras.Model:
    """Copies a model without the masked channels.

    Args:
        model: The model. It is not changed.
        mask: Bool `[channels]`, True for what stays.
        groups: The model's channel groups.
        keep_optimizer: Carry the state of its optimizer over.

    Returns:
        A new model, compiled like the old one.

    Raises:
        PruningError: The optimizer's state cannot be carried over.
    """
    small = slim(model, mask, groups)
    if keep_optimizer:
        carry_optimizer(model, small, mask, groups)
    return small
