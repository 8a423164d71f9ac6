"""FLAP and ZipLM, against the formulas in NumPy and against refitting by least squares after every removal."""

import keras
import numpy as np
import pytest

import tfprune
from tests.opaque_layers import GatedMLP
from tfprune.criteria import FLAP, ZipLM
from tfprune.criteria.channels import reading
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups

layers = keras.layers
RNG = np.random.default_rng(0)


def inputs_of(model, name):
    """What a layer of a sequential model reads."""
    place = [layer.name for layer in model.layers].index(name)
    return lambda x: np.asarray(keras.Model(model.inputs[0], model.layers[place - 1].output)(x), float)


def dense(hidden=6, outputs=4, seed=0):
    keras.utils.set_random_seed(seed)
    stack = [keras.Input((5,)), layers.Dense(hidden, "tanh", name="a"), layers.Dense(outputs, name="b")]
    return keras.Sequential(stack), RNG.normal(size=(70, 5)).astype(np.float32)


def refitting_error(rows, weights, gone, damping=0.01):
    """Squared error of a kernel's outputs without some features, after least squares on those that stay.

    Args:
        rows: What the kernel reads, `[rows, features]`.
        weights: The kernel, `[features, outputs]`.
        gone: The features.
        damping: How much the weights are held near the old ones.
    """
    ridge = np.sqrt(damping * np.mean(np.square(rows)) * len(rows)) * np.eye(rows.shape[1])
    held = np.concatenate([rows, ridge])
    target, stay = held @ weights, np.setdiff1d(np.arange(rows.shape[1]), gone)
    refitted = np.linalg.lstsq(held[:, stay], target, rcond=None)[0]
    return np.square(held[:, stay] @ refitted - target).sum() / len(rows)


def agree(scores, parts, sets):
    """Compares scores with removing sets of features one after the other, always the one that adds the least error.

    Args:
        scores: The scores of the sets.
        parts: What the groups of a kernel read, and their weights.
        sets: Features, of each group, that go together.
    """

    def error(gone):
        features = [feature for place in gone for feature in sets[place]]
        return sum(refitting_error(rows, weights, features) for rows, weights in parts)

    order, errors = [], [0.0]
    while len(order) < len(sets):
        after = {place: error([*order, place]) for place in range(len(sets)) if place not in order}
        order.append(min(after, key=after.get))
        errors.append(after[order[-1]])
    power = sum(np.square(rows @ weights).sum(axis=1).mean() for rows, weights in parts)
    np.testing.assert_array_equal(np.argsort(scores), order)
    np.testing.assert_allclose(scores[order], np.maximum.accumulate(np.diff(errors)) / power, rtol=1e-4)


def test_flap_of_a_dense_layer():
    model, x = dense()
    hidden, weights = inputs_of(model, "b")(x), np.asarray(model.get_layer("b").kernel, float)
    expected = hidden.var(axis=0, ddof=1) * np.square(weights).sum(axis=1)
    groups = channel_groups(model)
    data = [(x[:30], None), (x[30:], None)]
    np.testing.assert_allclose(FLAP(normalize="none").scores(model, groups, data), expected, rtol=1e-5)
    standard = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(FLAP().scores(model, groups, data), standard, rtol=1e-4, atol=1e-5)


def test_flap_adds_up_a_channels_features_and_readers():
    """A convolution reads a channel at four positions of its window, a second layer reads it once."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 5, 2))
    x = layers.Conv2D(3, 2, activation="relu", name="a")(inputs)
    first, second = layers.Conv2D(4, 2, name="b"), layers.Dense(2, name="c")
    model = keras.Model(inputs, [first(x), second(x)])
    images = RNG.normal(size=(12, 5, 5, 2)).astype(np.float32)
    maps = np.asarray(keras.Model(inputs, x)(images), float)
    expected = maps.var(axis=(0, 1, 2), ddof=1) * np.square(np.asarray(second.kernel, float)).sum(axis=1)
    squares = np.square(np.asarray(first.kernel, float)).sum(axis=3)
    for i in range(2):
        for j in range(2):
            expected += maps[:, i : i + 3, j : j + 3].var(axis=(0, 1, 2), ddof=1) * squares[i, j]
    found = FLAP(normalize="none").scores(model, channel_groups(model), [(images, None)])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_channel_that_is_constant_goes_first():
    model, x = dense()
    model.get_layer("a").kernel.assign(np.asarray(model.get_layer("a").kernel) * (np.arange(6) != 2))
    model.get_layer("a").bias.assign(np.full(6, 0.5))
    scores = FLAP(normalize="none").scores(model, channel_groups(model), [(x, None)])
    np.testing.assert_allclose(scores[2], 0, atol=1e-9)
    assert (np.delete(scores, 2) > 1e-3).all()


@pytest.mark.parametrize("seed", range(3))
def test_ziplm_is_refitting_after_every_removal(seed):
    model, x = dense(seed=seed)
    scores = ZipLM().scores(model, channel_groups(model), [(x[:30], None), (x[30:], None)])
    rows, weights = inputs_of(model, "b")(x), np.asarray(model.get_layer("b").kernel, float)
    agree(scores, [(rows, weights)], [[i] for i in range(6)])


def test_ziplm_of_more_features_than_are_applied_at_once(monkeypatch):
    """Costs do not depend on when the removals are applied to the whole matrices."""
    model, x = dense(hidden=90, outputs=7)
    found = [ZipLM().scores(model, channel_groups(model), [(x, None)])]
    for pending in (1, 1000):
        monkeypatch.setattr(reading, "_PENDING", pending)
        found.append(ZipLM().scores(model, channel_groups(model), [(x, None)]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-8)


def test_ziplm_removes_all_features_of_a_channel():
    """A channel is read at four positions by a dense layer behind a flattening."""
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(5, 2, activation="relu", name="a"), layers.Flatten(), layers.Dense(3, name="b")]
    model = keras.Sequential([keras.Input((3, 3, 2)), *stack])
    images = RNG.normal(size=(80, 3, 3, 2)).astype(np.float32)
    scores = ZipLM().scores(model, channel_groups(model), [(images, None)])
    sets = [[position * 5 + unit for position in range(4)] for unit in range(5)]
    agree(scores, [(inputs_of(model, "b")(images), np.asarray(model.get_layer("b").kernel, float))], sets)


def test_ziplm_of_heads_and_of_channels_within_them():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 5))
    x = layers.EinsumDense("abc,cde->abde", (4, 3, 2), activation="tanh", name="a")(inputs)
    last = layers.EinsumDense("abde,def->abf", (4, 4), name="b")
    model = keras.Model(inputs, last(x))
    data = RNG.normal(size=(30, 4, 5)).astype(np.float32)
    groups = channel_groups(model)
    scores = ZipLM().scores(model, groups, [(data, None)])
    rows = np.asarray(keras.Model(inputs, x)(data), float).reshape(-1, 6)
    weights = np.asarray(last.kernel, float).reshape(6, 4)
    sizes = {group.size: scores[group.channels] for group in groups}
    agree(sizes[3], [(rows, weights)], [[0, 1], [2, 3], [4, 5]])
    agree(sizes[2], [(rows, weights)], [[0, 2, 4], [1, 3, 5]])


def test_channels_within_a_layer_of_ones_own():
    """The width of a gated MLP is read by its last kernel; nothing else reads it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 6))
    block = GatedMLP(10, name="block")
    model = keras.Model(inputs, block(inputs))
    x = RNG.normal(size=(30, 4, 6)).astype(np.float32)
    groups = channel_groups(model)
    width = next(group for group in groups if group.size == 5)
    inside = np.asarray(block.norm(x), float).reshape(-1, 6)
    gate, up = (inside @ np.asarray(each.kernel) + np.asarray(each.bias) for each in (block.gate, block.up))
    rows, weights = gate / (1 + np.exp(-gate)) * up, np.asarray(block.down.kernel, float)
    found = FLAP(normalize="none").scores(model, groups, [(x, None)])[width.channels]
    np.testing.assert_allclose(found, rows.var(axis=0, ddof=1) * np.square(weights).sum(axis=1), rtol=1e-4)
    agree(ZipLM().scores(model, groups, [(x, None)])[width.channels], [(rows, weights)], [[i] for i in range(5)])


def test_ziplm_of_a_grouped_convolution():
    """A channel of each group goes at a time: their errors add up."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(6, "tanh", name="a"), layers.Conv1D(4, 1, groups=2, use_bias=False, name="b")]
    model = keras.Sequential([keras.Input((3, 4)), *stack])
    x = RNG.normal(size=(40, 3, 4)).astype(np.float32)
    groups = channel_groups(model)
    assert groups.channels == 3
    scores = ZipLM().scores(model, groups, [(x, None)])
    rows, kernel = inputs_of(model, "b")(x).reshape(-1, 6), np.asarray(model.get_layer("b").kernel, float)[0]
    agree(scores, [(rows[:, :3], kernel[:, :2]), (rows[:, 3:], kernel[:, 2:])], [[0], [1], [2]])


def test_of_two_channels_alike_one_is_cheap():
    model, x = dense()
    for weight in model.get_layer("a").weights:
        value = np.asarray(weight).copy()
        value[..., 3] = value[..., 1]
        weight.assign(value)
    scores = ZipLM(damping=1e-6).scores(model, channel_groups(model), [(x, None)])
    pair = np.sort(scores[[1, 3]])
    assert pair[0] < 1e-4 < 0.01 < pair[1]


def test_reweighting_leaves_the_error_that_was_foretold():
    """With one channel removed, the refitted model errs by the score of that channel."""
    model, x = dense()
    groups = channel_groups(model)
    scores = ZipLM(damping=1e-9).scores(model, groups, [(x, None)])
    small = tfprune.plan_channels(model, ZipLM(damping=1e-9), density=5 / 6, data=[(x, None)]).apply(reweight=x)
    whole, bias = np.asarray(model(x), float), np.asarray(model.get_layer("b").bias)
    error = np.square(np.asarray(small(x)) - whole).sum() / np.square(whole - bias).sum()
    np.testing.assert_allclose(error, scores.min(), rtol=1e-3)


def test_zeros_and_few_examples():
    """Nothing fluctuates, nothing is read: scores are 0, or of the last digits, and finite."""
    model, x = dense()
    for name in ("a", "b"):
        model.get_layer(name).kernel.assign(np.zeros(model.get_layer(name).kernel.shape))
    for criterion in (FLAP(), ZipLM()):
        np.testing.assert_allclose(criterion.scores(model, channel_groups(model), [(x, None)]), 0, atol=1e-12)
    model, x = dense(hidden=20)
    for criterion in (FLAP(), ZipLM()):
        assert np.isfinite(criterion.scores(model, channel_groups(model), [(x[:1], None)])).all()


@pytest.mark.parametrize("criterion", [FLAP(), ZipLM()])
def test_readers_that_are_not_described(criterion):
    """Channels that only a recurrent layer reads have no score; those that others read, too, have theirs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 3))
    x = layers.Dense(5, name="a")(inputs)
    y = layers.LSTM(2, name="lstm")(x)
    groups = channel_groups(model := keras.Model(inputs, y))
    data = [(RNG.normal(size=(9, 4, 3)).astype(np.float32), None)]
    with pytest.raises(ConfigError, match=f"criterion {criterion.name}: no dense layer, einsum or convolution reads"):
        criterion.scores(model, groups, data)
    model = keras.Model(inputs, [y, layers.Dense(2, name="b")(x)])
    groups = channel_groups(model)
    alone = keras.Model(inputs, layers.Dense(2, name="b2")(x))
    alone.get_layer("b2").set_weights(model.get_layer("b").get_weights())
    found = criterion.scores(model, groups, data)
    place = next(group for group in groups if group.name == "a").channels
    np.testing.assert_allclose(found[place], criterion.scores(alone, channel_groups(alone), data), rtol=1e-6)


def test_mistakes():
    model, _ = dense()
    for criterion in (FLAP(), ZipLM()):
        with pytest.raises(ConfigError, match=f"{criterion.name} looks at data"):
            criterion.scores(model, channel_groups(model))
    for damping in (0, -1, "much"):
        with pytest.raises(ConfigError, match="damping: expected a number above 0"):
            ZipLM(damping=damping)
    with pytest.raises(ConfigError, match="normalize"):
        FLAP(normalize="median")
