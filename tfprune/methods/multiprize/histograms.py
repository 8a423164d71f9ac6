"""How scores, statistics and gradients are distributed, for TensorBoard."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers import Subnet


class Histograms:
    """Writes the distributions of a network's variables, and how much each layer keeps, into a folder of events.

    What an optimizer holds for each variable are means of its gradients, or of their squares: their histograms show
    whether a layer still learns.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, network: keras.Model, optimizer: keras.optimizers.Optimizer, epoch: int) -> None:
        """Writes those of an epoch.

        Args:
            network: Its masks are up to date.
            optimizer: Trains it.
            epoch: Epochs done so far.
        """
        with self._writer.as_default(step=epoch):
            for layer in network._flatten_layers():
                if isinstance(layer, Subnet):
                    tf.summary.scalar(f"kept/{layer.name}", float(np.mean(layer.mask)))
                if not layer._layers:
                    self._write_variables(layer.name, layer.variables)
            self._write_variables("optimizer", optimizer.variables)
        self._writer.flush()

    def _write_variables(self, owner: str, variables: list[keras.Variable]) -> None:
        for variable in variables:
            if len(variable.shape) and "float" in variable.dtype:
                tf.summary.histogram(f"{owner}/{variable.name}", tf.convert_to_tensor(variable.value))
