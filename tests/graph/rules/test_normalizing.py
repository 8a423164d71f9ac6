"""Masking, and layers that prepare inputs."""

import keras

from tests.graph.agreement import agrees, sizes

layers = keras.layers


def test_masking_inputs():
    inputs = keras.Input((5, 4))
    x = layers.LSTM(6, name="first")(layers.Masking()(inputs))
    assert sizes(agrees(keras.Model(inputs, layers.Dense(3)(x)))) == {"first": 6}


def test_masking_needs_all_channels_that_it_compares():
    inputs = keras.Input((5, 4))
    x = layers.Masking(0.5, name="masked")(layers.GRU(6, return_sequences=True, name="first")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.LSTM(4, name="second")(x)))
    groups = agrees(model, pinned=[("first", "it masks positions where all of them equal a value")])
    assert sizes(groups) == {"second": 4}


def test_features_become_categories():
    numbers, tokens = keras.Input((3,)), keras.Input((1,), dtype="int32")
    x = layers.Flatten()(layers.Embedding(4, 6, name="first")(layers.Discretization([0.0, 1.0])(numbers)))
    y = layers.Dense(5, name="second")(layers.CategoryEncoding(5, output_mode="multi_hot")(tokens))
    groups = agrees(keras.Model([numbers, tokens], layers.Dense(3)(layers.Concatenate()([x, y]))))
    assert groups.pinned == ()
    assert sizes(groups) == {"first": 6, "second": 5}


def test_signals_have_no_channels():
    inputs = keras.Input((600,))
    x = layers.MelSpectrogram(fft_length=256, sequence_stride=128, num_mel_bins=8, name="mel")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    agrees(model, pinned=[("mel", "it transforms signals in time")], power=None)
