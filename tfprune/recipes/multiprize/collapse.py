"""Sub-networks of which nothing is left in some layer."""

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import PruningError
from tfprune.layers import collapsed_layers


def check_passage(network: keras.Model, images: tf.Tensor) -> list[str]:
    """Raises an error if layers without weights cut a network in two; others around them may still lead past them.

    Args:
        network: With masks that are up to date.
        images: Some, different from each other, `[batch, height, width, channels]`.

    Returns:
        Names of the layers that keep no weight.

    Raises:
        PruningError: Such layers make all logits the same, whatever the image.
    """
    names = collapsed_layers(network)
    if not names:
        return []
    logits = np.asarray(network(images, training=False), np.float64)
    if np.ptp(logits, axis=0).max() > 1e-6 * np.abs(logits).max():
        return names
    raise PruningError(
        f"no weight is left in {', '.join(names)}, so that all images look the same to the network; raise --density, "
        "or take --scope layer"
    )
