"""Criteria that use gradients, on kernels of recurrent layers, of attention and of layers within one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.test_masked_layer import Block
from tfprune.criteria import SNIP, Fisher, GradNorm, GraSP, Lottery, Magnitude, SynFlow
from tfprune.graph import convert, prunable_weights

layers = keras.layers
X = np.random.default_rng(0).normal(size=(8, 5, 6)).astype(np.float32)
Y = np.arange(8) % 3


def model_of(kind):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5, 6))
    if kind == "attention":
        x = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 3, name="it")(inputs, inputs))
    elif kind == "block":
        x = layers.GlobalAveragePooling1D()(Block(6, name="it")(inputs))
    elif kind == "bidirectional":
        x = layers.Bidirectional(layers.GRU(3), name="it")(inputs)
    else:
        x = layers.LSTM(4, name="it")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="fc")(x))


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("kind", ["lstm", "bidirectional", "attention", "block"])
def test_gradients_are_those_of_the_model(kind):
    model = model_of(kind)
    weights = prunable_weights(model)
    with tf.GradientTape() as tape:
        loss = LOSS(Y, model(X, training=False))
    gradients = tape.gradient(loss, [weight.value for weight in weights.values()])
    scores = GradNorm().weight_scores(model, None, (X, Y))
    assert list(scores) == list(weights)
    for score, gradient in zip(scores.values(), gradients, strict=True):
        np.testing.assert_allclose(score, np.abs(gradient), rtol=1e-3, atol=1e-6)
    masks = SNIP()(model, 0.5, (X, Y))
    masked = convert(model, "masked", masks)
    assert masks.kept == -(-masks.total // 2)
    again = GradNorm().weight_scores(masked, None, (X, Y))
    assert list(again) == list(weights)


@pytest.mark.parametrize("kind", ["lstm", "attention"])
@pytest.mark.parametrize("criterion", [Fisher(), GraSP()])
def test_other_criteria_score_all_kernels(kind, criterion):
    model = model_of(kind)
    assert criterion(model, 0.5, (X, Y)).total == sum(int(np.prod(w.shape)) for w in prunable_weights(model).values())


@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
def test_flows_through_attention():
    assert SynFlow(iterations=3)(model_of("attention"), 0.5).density == pytest.approx(0.5, abs=0.01)


def test_which_kernels_are_dense():
    model = model_of("bidirectional")
    masks = Lottery()(model, 0.5)
    assert masks["fc/kernel"].all()
    assert not masks["it/forward_layer.cell.kernel"].all()
    assert Lottery()(convert(model, "masked", masks), 0.5) == masks == Lottery()(model, 0.5)
    assert Magnitude()(model, 0.5).kept == masks.kept
