import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.dpp import reweighted_readers
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups, slim
from tfprune.pruning import ReweightingWarning, plan_channels, prune_channels, reweight

layers = keras.layers
X = np.random.default_rng(0).normal(size=(90, 6, 6, 2)).astype(np.float32)


def chain(seed=0):
    """Readers: a strided convolution, one with groups behind a batch norm, a dense layer behind a flattening."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="a")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="b")(x)
    x = layers.Conv2D(8, 2, groups=2, activation="relu", name="grouped")(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3, name="fc")(layers.Flatten()(x)))


def fitted(model, mask, groups=None, data=X):
    """The model without the channels, and the same with its kernels fitted."""
    groups = groups or channel_groups(model)
    small, better = slim(model, mask, groups), slim(model, mask, groups)
    assert reweight(better, model, mask, groups, [data[:40], data[40:]]) == {}
    return small, better


def mask_of(groups, **units):
    """Keeps everything but the given channels of the named groups."""
    mask = np.ones(groups.channels, bool)
    for group in groups:
        mask[group.start + np.array(units.get(group.name, []), int)] = False
    return mask


def test_the_papers_formula():
    """One hidden layer, as in the paper: the outgoing weights are those of `reweighted_readers`."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((9,)), layers.Dense(7, "sigmoid", name="h"), layers.Dense(4, name="out")])
    x = np.random.default_rng(1).normal(size=(200, 9)).astype(np.float32)
    groups = channel_groups(model)
    kept = np.array([True, False, True, True, False, True, False])
    _, better = fitted(model, kept, groups, x)
    signals = np.asarray(model.get_layer("h")(x), float)
    expected = reweighted_readers(np.asarray(model.get_layer("out").kernel).copy(), kept, signals.T @ signals)[kept]
    np.testing.assert_allclose(better.get_layer("out").kernel, expected, atol=1e-4)


@pytest.mark.parametrize(("layer", "reader"), [("a", "b"), ("b", "grouped"), ("grouped", "fc")])
def test_channels_in_the_span_of_others_are_not_missed(layer, reader):
    """The cut channels are multiples of kept ones: the outputs stay, where they would be far off."""
    model = chain()
    made, bias = (np.asarray(each).copy() for each in (model.get_layer(layer).kernel, model.get_layer(layer).bias))
    cut = {"a": [4], "b": [1, 5], "grouped": [1, 5]}[layer]  # of each group of the reader as many
    for unit, other in zip(cut, {"a": [2], "b": [0, 4], "grouped": [0, 4]}[layer], strict=True):
        made[..., unit], bias[unit] = 3 * made[..., other], 3 * bias[other]
    model.get_layer(layer).kernel.assign(made)
    model.get_layer(layer).bias.assign(bias)
    if layer == "a":
        along = np.asarray(model.get_layer("depthwise").kernel).copy()
        along[:, :, 4] = along[:, :, 2]
        model.get_layer("depthwise").kernel.assign(along)
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    out = next(slot for slot in groups.slots[layer] if slot.role == "out" and slot.weight == "kernel")
    mask[out.channels[cut]] = False
    small, better = fitted(model, mask, groups)
    whole, plain, kept = (np.asarray(each(X)) for each in (model, small, better))
    scale = np.abs(whole).mean()
    assert np.abs(plain - whole).mean() > 0.05 * scale
    np.testing.assert_allclose(kept, whole, atol=1e-3 * scale)
    others = {each.name for each in model.layers if each.weights} - {layer, reader, "depthwise"}
    for name in others - ({"batch_normalization"} if layer == "b" else set()):
        for old, new in zip(small.get_layer(name).get_weights(), better.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_einsums_are_fitted_by_least_squares():
    """The kernel that reads the heads that are left is the regression of the old outputs on them."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 5))
    x = layers.EinsumDense("abc,cde->abde", (4, 3, 2), activation="tanh", name="heads")(inputs)
    model = keras.Model(inputs, layers.EinsumDense("abde,def->abf", (4, 6), name="joined")(x))
    data = np.random.default_rng(1).normal(size=(60, 4, 5)).astype(np.float32)
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    heads = next(group for group in groups if group.size == 3)
    mask[heads.start + 1] = False
    small, better = fitted(model, mask, groups, data)
    rows = np.asarray(keras.Model(inputs, x)(data), float).reshape(-1, 3, 2)
    outputs = rows.reshape(-1, 6) @ np.asarray(model.get_layer("joined").kernel, float).reshape(6, 6)
    expected = np.linalg.lstsq(rows[:, [0, 2]].reshape(-1, 4), outputs, rcond=None)[0]
    found = np.asarray(better.get_layer("joined").kernel).reshape(4, 6)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - np.asarray(small.get_layer("joined").kernel).reshape(4, 6)).max() > 0.01


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 50), group=st.integers(0, 2))
def test_no_output_errs_more_on_the_data(seed, group):
    """With one linear layer after the cut the error is that which is minimised."""
    model = chain(seed)
    groups = channel_groups(model)
    last = groups[len(groups) - 1]
    mask = np.ones(groups.channels, bool)
    mask[last.start + np.random.default_rng(seed).permutation(last.size)[: 1 + group]] = False
    small, better = fitted(model, mask, groups)
    whole = np.asarray(model(X))
    errors = [np.square(np.asarray(each(X)) - whole).sum() for each in (small, better)]
    assert errors[1] <= errors[0] * (1 + 1e-4)
    assert errors[1] < 0.95 * errors[0]


def test_accuracy_before_any_training():
    """A tiny residual network: half of its channels go, most of its accuracy stays."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, 600)
    patterns = rng.normal(size=(4, 6, 6, 2))
    images = (patterns[labels] + rng.normal(size=(600, 6, 6, 2))).astype(np.float32)
    inputs = keras.Input((6, 6, 2))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(inputs)))
    y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same")(x))
    x = layers.Flatten()(layers.MaxPooling2D(2)(layers.ReLU()(layers.Add()([x, y]))))
    model = keras.Model(inputs, layers.Dense(4)(layers.Dense(16, "relu")(x)))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(images[:400], labels[:400], epochs=6, batch_size=40, verbose=0)

    def accuracy(network):
        return np.mean(np.argmax(network(images[400:]), axis=1) == labels[400:])

    plan = plan_channels(model, "random", density=0.5, scope="local")
    whole, plain, better = accuracy(model), accuracy(plan.apply()), accuracy(plan.apply(reweight=images[:400]))
    assert whole > 0.9
    assert plain < 0.75 * whole
    assert better > plain + 0.5 * (whole - plain)


def test_pruning_at_once_is_the_plan_carried_out():
    model = chain()
    small = prune_channels(model, "l2", density=0.5, scope="local", reweight=(X, np.zeros(len(X))))
    planned = plan_channels(model, "l2", density=0.5, scope="local").apply(reweight=[X[:64], X[64:]])
    for old, new in zip(small.get_weights(), planned.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_that_cannot_are_named():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    shared = layers.Dense(4, name="shared")
    x = shared(shared(layers.Conv2D(4, 1, name="a")(inputs)))
    x = layers.Conv2DTranspose(3, 2, name="up")(x)
    x = layers.Dense(2, name="head")(x)
    model = keras.Model(inputs, x)
    plan = plan_channels(model, "random", density=0.7, scope="local")
    with pytest.warns(
        ReweightingWarning, match="not reweighted: shared .it is called 2 times.; up .no least squ"
    ) as told:
        small = plan.apply(reweight=X)
    assert set(told[0].message.reasons) == {"shared", "up"}
    plain = plan.apply()
    for name in ("shared", "up"):
        np.testing.assert_array_equal(small.get_layer(name).kernel, plain.get_layer(name).kernel)
    assert not np.allclose(small.get_layer("head").kernel, plain.get_layer("head").kernel)


def test_nothing_cut_nothing_changed():
    model = chain()
    groups = channel_groups(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small, better = fitted(model, np.ones(groups.channels, bool), groups)
    for old, new in zip(small.get_weights(), better.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "reweight: expected at least one batch"),
        (
            np.full((4, 6, 6, 2), np.nan, np.float32),
            "reweight: the input .*: expected finite numbers, received 288 of 288",
        ),
        (5, "reweight: expected batches"),
    ],
)
def test_unfit_data(data, message):
    with pytest.raises(ConfigError, match=message):
        plan_channels(chain(), "l2", density=0.5, scope="local").apply(reweight=data)
