"""Random chains of blocks that hold, move or tie channels: slimmed equals masked, and all that stays is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.agreement import agrees
from tests.graph.operation_blocks import OPERATION_BLOCKS

layers = keras.layers
ops = keras.ops


@keras.saving.register_keras_serializable(package="test")
class Weighted(layers.Layer):
    """One weight per channel, and no rule."""

    def build(self, shape):
        self.alpha = self.add_weight(shape=shape[-1:], initializer="ones", name="alpha")

    def call(self, inputs):
        return inputs * self.alpha


def activated(function):
    return lambda x: layers.Activation(function)(x)


def convolution(function):
    return lambda x: layers.Conv2D(8, 3, padding="same", activation=function)(x)


def shuffled(order):
    """Pixel shuffle with the blocks after (PyTorch) or before the channels."""

    def block(x):
        _, height, width, channels = x.shape
        if order == "CRD":
            x = ops.transpose(ops.reshape(x, (-1, height, width, channels // 4, 2, 2)), (0, 1, 4, 2, 5, 3))
        else:
            x = ops.transpose(ops.reshape(x, (-1, height, width, 2, 2, channels // 4)), (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, 2 * height, 2 * width, channels // 4))
        return layers.MaxPooling2D()(layers.Conv2D(8, 1)(x))

    return block


def largest_of_two(axis):
    """Maxout."""

    def block(x):
        *shape, channels = x.shape[1:]
        parts = (channels // 2, 2) if axis == -1 else (2, channels // 2)
        return layers.Conv2D(8, 1)(ops.max(ops.reshape(x, (-1, *shape, *parts)), axis))

    return block


def attended(x):
    """CBAM's spatial attention."""
    return x * layers.Conv2D(1, 3, padding="same", activation="sigmoid")(ops.mean(x, -1, keepdims=True))


def neighboring(x):
    """ECA: a convolution over channels."""
    channels = x.shape[-1]
    y = layers.Reshape((channels, 1))(layers.GlobalAveragePooling2D()(x))
    return x * layers.Reshape((1, 1, channels))(layers.Conv1D(1, 3, padding="same")(y))


BLOCKS = {
    "silu of ops": activated(ops.silu),
    "relu of TensorFlow": convolution(tf.nn.relu),
    "own function": convolution(lambda x: x * ops.sigmoid(1.7 * x)),
    "softmax": activated("softmax"),
    "centred": lambda x: x - ops.mean(x, axis=-1, keepdims=True),
    "norm": lambda x: x / ops.sqrt(ops.sum(ops.square(x), -1, keepdims=True) + 1e-3),
    "vector": lambda x: x * np.linspace(0.5, 1.5, x.shape[-1], dtype="float32"),
    "vector on the left": lambda x: ops.subtract(np.linspace(-1, 1, x.shape[-1], dtype="float32"), x),
    "vectors of a layer": lambda x: layers.Rescaling([0.5 + i for i in range(x.shape[-1])], offset=0.5)(x),
    "weights": lambda x: Weighted()(x),
    "lambda": lambda x: layers.Lambda(lambda y: ops.clip(y, -1, 1))(x),
    "augmented": lambda x: layers.RandomFlip()(layers.GaussianNoise(0.1)(x)),
    "residual": lambda x: x + layers.Conv2D(x.shape[-1], 3, padding="same")(x),
    "CRD": shuffled("CRD"),
    "DCR": shuffled("DCR"),
    "maxout of neighbors": largest_of_two(-1),
    "maxout of halves": largest_of_two(-2),
    "CBAM": attended,
    "ECA": neighboring,
    **OPERATION_BLOCKS,
}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4))
def test_chains_of_blocks(names):
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(inputs)
    for name in names:
        x = BLOCKS[name](x)
        x = layers.Conv2D(8, 1)(x) if x.shape[-1] % 8 or x.shape[-1] > 16 else x  # some blocks need pairs of pairs
    x = layers.Conv2D(6, 3, padding="same", name="last")(x)
    groups = agrees(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))), seeds=1, power=-1)
    assert "last" in {group.name for group in groups}


def test_each_block_alone():
    for block in BLOCKS.values():
        inputs = keras.Input((4, 4, 3))
        x = block(layers.Conv2D(8, 3, padding="same", name="first")(inputs))
        groups = agrees(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))), seeds=2, power=-1)
        free = {group.name for group in groups}
        held = {each.layer for entry in groups.left_alone for each in entry.held}
        assert "first" in free or "first (Conv2D)" in held


def started(kind):
    """A recurrent layer that begins with the states of another one."""

    def block(x):
        _, *states = kind(7, return_state=True)(x)
        return kind(7, return_sequences=True)(x, initial_state=states)

    return block


def crossed(x):
    """The states of two directions, joined, start a layer of cells that read one another."""
    _, forward, backward = layers.Bidirectional(layers.GRU(3, return_state=True))(x)
    cells = [layers.GRUCell(6), layers.SimpleRNNCell(5)]
    states = [layers.Concatenate()([forward, backward]), layers.Dense(5, "tanh")(forward)]
    return layers.RNN(cells, return_sequences=True)(x, initial_state=states)


def inner():
    chain = [layers.Dense(6, "relu"), layers.LayerNormalization(), layers.Dense(5)]
    return keras.Sequential([keras.Input((8,)), *chain])


def each_time(x):
    x = layers.Dense(8)(x)
    return layers.Concatenate()([layers.TimeDistributed(inner())(x), x])


def shared_each_time(x):
    timed = layers.TimeDistributed(inner())
    return layers.Add()([timed(layers.Dense(8)(x)), timed(layers.Dense(8)(x))])


SEQUENCES = {
    "LSTM": lambda x: layers.LSTM(7, return_sequences=True)(x),
    "started LSTM": started(layers.LSTM),
    "started GRU": started(layers.GRU),
    "crossed": crossed,
    "each time": each_time,
    "shared each time": shared_each_time,
    "two directions": lambda x: layers.Bidirectional(layers.RNN(layers.LSTMCell(4), return_sequences=True))(x),
    "attention": lambda x: layers.Attention()([layers.Dense(6, "tanh")(x), x, layers.Dense(6, "tanh")(x)]),
    "additive": lambda x: layers.AdditiveAttention()([layers.Dense(6)(x), layers.Dense(6)(x)]),
    "heads": lambda x: layers.MultiHeadAttention(2, 3, use_gate=True)(x, x, use_causal_mask=True),
    "joined": lambda x: layers.Concatenate()([x, layers.Dense(4)(x)]),
    "added": lambda x: layers.Add()([x, layers.Dense(x.shape[-1])(x)]),
    "normalized": lambda x: layers.SpectralNormalization(layers.Dense(6, "relu"))(x),
    "masking": lambda x: layers.Masking()(x),
    "norm": lambda x: layers.LayerNormalization()(x),
}


@pytest.mark.filterwarnings("ignore:.*does not support masking")
@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(SEQUENCES)), min_size=1, max_size=4), st.booleans())
def test_chains_of_sequences(names, masked):
    tokens, others = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    x = layers.Concatenate()([layers.Embedding(6, 5, mask_zero=masked)(each) for each in (tokens, others)])
    for name in names:
        x = SEQUENCES[name](x)
    x = layers.GRU(6, name="last")(x)
    groups = agrees(keras.Model([tokens, others], layers.Dense(2)(x)), seeds=1, power=-1, tolerance=1e-4)
    assert "last" in {group.name for group in groups}


@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_each_sequence_alone():
    for name, block in SEQUENCES.items():
        tokens = keras.Input((5,), dtype="int32")
        x = block(layers.Embedding(6, 5, mask_zero=True, name="first")(tokens))
        groups = agrees(keras.Model(tokens, layers.GRU(6, name="last")(x)), seeds=2, power=-1)
        held = {each.layer for entry in groups.left_alone for each in entry.held}
        assert ("first (Embedding)" in held) == (name == "masking"), name
