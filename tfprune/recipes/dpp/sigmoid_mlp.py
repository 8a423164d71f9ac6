"""The image classifiers: dense layers with sigmoid activations."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import expit


class SigmoidMLP(NamedTuple):
    """Weights of dense layers.

    Attributes:
        kernels: `[inputs, outputs]` of each layer.
        biases: `[outputs]` of each layer.
    """

    kernels: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def signals(self, inputs: np.ndarray) -> np.ndarray:
        """What the first hidden layer puts out, `[examples, width]`."""
        return expit(inputs @ self.kernels[0] + self.biases[0])

    def accuracy(self, inputs: np.ndarray, labels: np.ndarray) -> float:
        """Fraction of the examples classified rightly."""
        values = self.signals(inputs)
        for kernel, bias in zip(self.kernels[1:-1], self.biases[1:-1], strict=True):
            values = expit(values @ kernel + bias)
        return float(np.mean(np.argmax(values @ self.kernels[-1] + self.biases[-1], axis=1) == labels))


def train_mlp(
    inputs: np.ndarray,
    labels: np.ndarray,
    widths: Sequence[int],
    classes: int,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    stop_accuracy: float,
    seed: int,
) -> SigmoidMLP:
    """Trains by SGD with momentum 0.9, until the accuracy on the training set is reached or the epochs are over.

    Args:
        inputs: Float32 `[examples, inputs]`.
        labels: `[examples]`.
        widths: Hidden widths.
        classes: Number of classes.
        lr: Learning rate.
        epochs: Passes over the data, at most.
        batch_size: Examples per step.
        stop_accuracy: Accuracy at which to stop.
        seed: Of weights and order.

    Returns:
        The weights.
    """
    keras.utils.set_random_seed(seed)
    hidden = [keras.layers.Dense(width, activation="sigmoid") for width in widths]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *hidden, keras.layers.Dense(classes)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(lr, momentum=0.9), loss, metrics=["accuracy"], jit_compile=False)
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _stop(model, logs, stop_accuracy))
    model.fit(inputs, labels, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[stop])
    arrays = [np.asarray(variable, np.float64) for variable in model.weights]
    return SigmoidMLP(tuple(arrays[::2]), tuple(arrays[1::2]))


def _stop(model: keras.Model, logs: dict[str, float], stop_accuracy: float) -> None:
    model.stop_training = logs["accuracy"] >= stop_accuracy
