"""How scores, statistics and gradients are distributed, for TensorBoard."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.keras_private import child_layers, flat_layers
from tfprune.layers import Subnet
from tfprune.recipes.training import GradientProbe


class Histograms:
    """Writes the distributions of a network's variables and gradients, and what each layer keeps, into events.

    The gradients are those of the first training images at the weights after an epoch, before momentum, decay and
    clipping: they show whether a layer still learns. In float16 those that overflow are left out, as the training step
    would be.

    Args:
        folder: The folder of the events.
        network: Whose they are.
        gradients: Gives its gradients.
    """

    def __init__(self, folder: Path, network: keras.Model, gradients: GradientProbe) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        self._network = network
        self._gradients = gradients

    def write(self, epoch: int) -> None:
        """Writes those of an epoch; the masks are up to date.

        Args:
            epoch: Epochs done so far.
        """
        with self._writer.as_default(step=epoch):
            for layer in flat_layers(self._network):
                if isinstance(layer, Subnet):
                    tf.summary.scalar(f"kept/{layer.name}", float(np.mean(layer.mask)))
                if not child_layers(layer):
                    for variable in layer.variables:
                        if len(variable.shape) and "float" in variable.dtype:
                            tf.summary.histogram(f"{layer.name}/{variable.name}", tf.convert_to_tensor(variable.value))
            for variable, gradient in zip(self._network.trainable_variables, self._gradients(), strict=True):
                if np.isfinite(gradient).all():
                    tf.summary.histogram(f"gradients/{variable.path}", gradient)
        self._writer.flush()
