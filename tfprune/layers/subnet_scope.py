"""Sub-networks picked among the weights of all layers at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.ops.kept_count import kept_count
from tfprune.ops.largest import largest

_selected: ContextVar[bool] = ContextVar("selected", default=False)


@contextmanager
def global_selection(layers: Sequence[Any]) -> Iterator[None]:
    """Renews the masks of all layers by one selection among all their scores, for a training step within the block.

    Layers of the scope `global` cannot know of each other, so something outside of them must do this before they are
    called in training: `tfprune.layers.GlobalSubnet` does, and a training step of your own can.

    Args:
        layers: Built sub-network layers of the scope `global`, all with the same density.

    Yields:
        Nothing.
    """
    select_globally(layers)
    token = _selected.set(True)
    try:
        yield
    finally:
        _selected.reset(token)


def inside_selection() -> bool:
    """Whether the masks of layers of the scope `global` are up to date."""
    return _selected.get()


def select_globally(layers: Sequence[Any]) -> None:
    """Keeps the weights of the largest absolute scores among those of all layers, exactly as many as the density says.

    Of equal scores those in earlier layers and places stay.

    Args:
        layers: Built sub-network layers of the scope `global`; nothing happens if there are none.
    """
    if not layers:
        return
    scores = [tf.reshape(tf.abs(tf.convert_to_tensor(layer.scores.value)), [-1]) for layer in layers]
    sizes = [each.shape[0] for each in scores]
    keep = kept_count(sum(sizes), tf.convert_to_tensor(layers[0].density.value))
    masks = tf.split(largest(tf.concat(scores, 0), keep), sizes)
    for layer, mask in zip(layers, masks, strict=True):
        layer.mask.assign(tf.reshape(mask, layer.mask.shape))


def check_densities(layers: Sequence[Any]) -> None:
    """Raises an error if layers that are to be selected together are not alike.

    Raises:
        ConfigError: Their densities differ.
    """
    densities = sorted({float(layer.density.numpy()) for layer in layers})
    if len(densities) > 1:
        raise ConfigError(
            "expected one density in all layers of the scope global, received "
            f"{', '.join(map(str, densities))}; use one, or the scope layer"
        )
