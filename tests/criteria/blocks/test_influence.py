"""Scores of residual blocks, by hand: y = x + x A, then z = y + y B, then the output z c."""

import keras
import numpy as np
import pytest

from tests.models import residual_blocks_model
from tfprune.criteria import BlockTaylor, Cosine, LossIncrease
from tfprune.errors import ConfigError
from tfprune.graph import residual_blocks, without_blocks

layers = keras.layers
A = np.array([[0.0, 1.0], [0.0, 0.0]])  # x A = (0, x1)
B = np.array([[-2.0, 0.0], [0.0, 0.0]])  # y B = (-2 y1, 0)
C = np.array([[1.0], [3.0]])
X = np.array([[1.0, 0.0], [3.0, 1.0], [0.0, 0.0]])
Y = X + X @ A  # (1, 1), (3, 4), (0, 0)
Z = Y + Y @ B  # (-1, 1), (-3, 4), (0, 0)
TARGETS = np.array([[0.0], [4.0], [1.0]])
OUTPUTS = Z @ C  # 2, 9, 0


@pytest.fixture(scope="module")
def model():
    inputs = x = keras.Input((2,))
    for name, kernel in (("first", A), ("second", B)):
        dense = layers.Dense(2, use_bias=False, name=name)
        x = layers.Add(name=f"add_{name}")([x, dense(x)])
        dense.kernel.assign(kernel)
    out = layers.Dense(1, use_bias=False, name="out")
    model = keras.Model(inputs, out(x))
    out.kernel.assign(C)
    model.compile(loss="mse")
    return model


@pytest.fixture(scope="module")
def blocks(model):
    return residual_blocks(model)


def batches(size):
    return [(X[start : start + size], TARGETS[start : start + size]) for start in range(0, len(X), size)]


def test_cosine(model, blocks):
    first = [1 - 1 / np.sqrt(2), 1 - (3 * 3 + 1 * 4) / np.sqrt(10 * 25), 0]
    second = [1 - 0, 1 - (-3 * 3 + 4 * 4) / 25, 0]
    expected = [np.mean(first), np.mean(second)]
    np.testing.assert_allclose(Cosine().scores(model, blocks, X), expected, rtol=1e-6)
    np.testing.assert_allclose(Cosine().scores(model, blocks, batches(2)), expected, rtol=1e-6)
    np.testing.assert_allclose(Cosine(batches=1).scores(model, blocks, batches(1)), [first[0], second[0]], rtol=1e-6)


def test_cosine_of_positions():
    """A vector for each position, and the mean of these; a vector of zeros is at a right angle to others."""
    inputs = keras.Input((2, 2))
    dense = layers.Dense(2, bias_initializer=keras.initializers.Constant(1.0), kernel_initializer="zeros")
    model = keras.Model(inputs, layers.Add()([inputs, dense(inputs)]))
    x = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [-1.0, -1.0]]])  # becomes (2, 1), (1, 1); (2, 2), (0, 0)
    expected = np.mean([[1 - 2 / np.sqrt(5), 1], [0, 1]])
    np.testing.assert_allclose(Cosine().scores(model, residual_blocks(model), x), [expected], rtol=1e-6)


def test_taylor(model, blocks):
    """The derivative of the mean of (z c - t)^2 by z is 2 (z c - t) c / 3, that by y goes through I + B as well."""
    by_z = 2 * (OUTPUTS - TARGETS) @ C.T / 3
    by_y = by_z @ (np.eye(2) + B).T
    expected = [abs((by_y * (Y - X)).sum()), abs((by_z * (Z - Y)).sum())]
    assert abs(expected[0] - expected[1]) > 1
    for data in ((X, TARGETS), batches(1), batches(2)):
        np.testing.assert_allclose(BlockTaylor().scores(model, blocks, data), expected, rtol=1e-6)


def test_taylor_of_a_loss_of_ones_own(model, blocks):
    by_z = np.ones((3, 1)) @ C.T / 3
    expected = [abs((by_z @ (np.eye(2) + B).T * (Y - X)).sum()), abs((by_z * (Z - Y)).sum())]
    criterion = BlockTaylor(loss=lambda y, outputs: outputs)
    np.testing.assert_allclose(criterion.scores(model, blocks, (X, TARGETS)), expected, rtol=1e-6)


def test_loss(model, blocks):
    whole = np.mean((OUTPUTS - TARGETS) ** 2)
    without_first = np.mean(((X + X @ B) @ C - TARGETS) ** 2)
    without_second = np.mean((Y @ C - TARGETS) ** 2)
    expected = [without_first - whole, without_second - whole]
    assert min(abs(expected[0]), abs(expected[1]), abs(expected[0] - expected[1])) > 1
    for data in ((X, TARGETS), batches(1), batches(2)):
        np.testing.assert_allclose(LossIncrease().scores(model, blocks, data), expected, rtol=1e-5)


def test_loss_is_that_of_the_models_without_the_blocks():
    """With activations, nested models and several examples: what Keras evaluates."""
    inner = residual_blocks_model(3, activation="relu", name="inner")
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Softmax()(inner(inputs)))
    model.compile(loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 6, 6, 3)).astype(np.float32), rng.integers(0, 2, 7)
    blocks = residual_blocks(model)
    whole = model.evaluate(x, y, verbose=0)
    expected = [without_blocks(model, [block]).evaluate(x, y, verbose=0) - whole for block in blocks]
    np.testing.assert_allclose(LossIncrease().scores(model, blocks, (x, y)), expected, rtol=1e-4, atol=1e-6)


def test_the_first_order_is_right_for_a_small_block():
    """The smaller what a block adds, the nearer is the loss without it to the first order."""
    model = residual_blocks_model(2, activation="tanh")
    for name in ("conv0b", "conv1b"):
        for weight in model.get_layer(name).weights:
            weight.assign(1e-3 * np.asarray(weight))
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 6, 6, 3)).astype(np.float32), rng.integers(0, 2, 8)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found, exact = (
        criterion(loss=loss).scores(model, residual_blocks(model), data) for criterion in (BlockTaylor, LossIncrease)
    )
    np.testing.assert_allclose(found, np.abs(exact), rtol=0.02)


def test_nothing_of_the_model_changes(model, blocks):
    before = model.get_weights()
    for criterion in (Cosine(), BlockTaylor(), LossIncrease()):
        criterion.scores(model, blocks, (X, TARGETS))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mistakes(model, blocks):
    for criterion in (Cosine(), BlockTaylor(), LossIncrease()):
        with pytest.raises(ConfigError, match=f"criterion {criterion.name} looks at data: .*, received none"):
            criterion.scores(model, blocks)
        with pytest.raises(ConfigError, match="expected"):
            criterion.scores(model, blocks, (np.full((3, 2), np.nan), TARGETS))
        with pytest.raises(ConfigError, match="batches: expected a whole number from 1"):
            type(criterion)(batches=0)
    with pytest.raises(ConfigError, match="without labels"):
        BlockTaylor().scores(model, blocks, X)


def test_values_out_of_range_are_refused(model):
    other = keras.models.clone_model(model)
    other.get_layer("first").kernel.assign(np.full((2, 2), 3e38))
    other.get_layer("second").kernel.assign(np.full((2, 2), 3e38))
    other.compile(loss="mse")
    for criterion in (Cosine(), BlockTaylor(), LossIncrease()):
        with pytest.raises(ConfigError, match="received NaN or infinity in block"):
            criterion.scores(other, residual_blocks(other), (X, TARGETS))
