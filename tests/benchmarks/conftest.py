"""Makes the scripts in benchmarks/ importable, and gives them a network of seconds."""

import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


def tiny(weights=None, classifier_activation="softmax", input_shape=(None, None, 3)):
    """Made like the models of keras.applications."""
    assert weights is None
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(layers.Rescaling(1 / 255)(inputs))
    x = shortcut = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.Conv2D(16, 1, use_bias=False)(layers.ReLU(6)(layers.BatchNormalization()(x)))
    x = layers.Add()([shortcut, layers.BatchNormalization()(x)])
    x = layers.Activation("relu")(layers.Conv2D(24, 3, groups=1, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(5, activation=classifier_activation, name="predictions")(x)
    return keras.Model(inputs, outputs)


@pytest.fixture(autouse=True)
def threads_as_they_are(monkeypatch):
    """Leaves TensorFlow's threads alone: once it has run something, setting them is an error."""
    for setting in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        monkeypatch.setattr(tf.config.threading, setting, lambda threads: None)


@pytest.fixture
def tiny_application(monkeypatch):
    """A small model among the constructors of keras.applications, of open input size."""
    monkeypatch.setattr(keras.applications, "Tiny", tiny, raising=False)
    return tiny
