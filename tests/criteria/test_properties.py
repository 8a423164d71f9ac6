"""What holds for every criterion and any chain of layers."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import criteria
from tfprune.criteria import EKG, FLAP, FPGM, L1, L2, BNScale, Random, Taylor, ZipLM
from tfprune.graph import channel_groups

layers = keras.layers
CRITERIA = (
    *(L1(), L2(reduce="max"), L2(roles=("out",), normalize="max"), BNScale(), FPGM(), Taylor(), EKG()),
    *(FLAP(), ZipLM()),
)


def build(widths):
    """Convolution, batch norm, ReLU; a grouped convolution; a flattening; dense."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(widths[0], 3, padding="same", name="one")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(widths[1], 3, strides=2, name="two")(x)
    x = layers.Dense(3, name="out")(layers.Flatten()(layers.ReLU()(x)))
    return keras.Model(inputs, x)


def random_model(widths, seed):
    model = build(widths)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1, w.shape) * rng.choice([-1, 1], w.shape) for w in model.get_weights()])
    norm = model.get_layer("norm")
    norm.moving_variance.assign(np.abs(norm.moving_variance))
    return model


def examples(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (10, 4, 4, 2)).astype("float32"), rng.integers(0, 3, 10)


def permuted(model, order):
    """The same function with the channels of the first convolution in another order."""
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    one, norm, two = (new.get_layer(name) for name in ("one", "norm", "two"))
    one.set_weights([weight[..., order] for weight in one.get_weights()])
    norm.set_weights([weight[order] for weight in norm.get_weights()])
    kernel, bias = two.get_weights()
    two.set_weights([kernel[:, :, order], bias])
    return new


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda each: each.name)
@settings(max_examples=3, deadline=None)
@given(st.data())
def test_reordering_channels_reorders_scores(criterion, data):
    widths = data.draw(st.tuples(st.integers(2, 6), st.integers(2, 5)))
    seed = data.draw(st.integers(0, 99))
    order = np.array(data.draw(st.permutations(range(widths[0]))))
    model = random_model(widths, seed)
    other = permuted(model, order)
    before = criterion.scores(model, channel_groups(model), examples(seed))
    after = criterion.scores(other, channel_groups(other), examples(seed))
    expected = np.concatenate([before[: widths[0]][order], before[widths[0] :]])
    assert before.shape == (sum(widths),)
    np.testing.assert_allclose(after, expected, rtol=2e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 6), st.integers(0, 99), st.floats(0.1, 10), st.sampled_from([L1, L2]))
def test_norms_grow_with_the_weights_and_shares_do_not(width, seed, factor, kind):
    model = random_model((width, 3), seed)
    groups = channel_groups(model)
    plain, shares = kind(normalize="none").scores(model, groups), kind().scores(model, groups)
    for name in ("one", "two", "out"):
        model.get_layer(name).kernel.assign(model.get_layer(name).kernel * factor)
    np.testing.assert_allclose(kind(normalize="none").scores(model, groups), factor * plain, rtol=1e-5)
    np.testing.assert_allclose(kind().scores(model, groups), shares, rtol=1e-5)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 99), st.floats(0.5, 4))
def test_data_criteria_grow_with_the_loss(seed, factor):
    model = random_model((4, 3), seed)
    groups = channel_groups(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def scaled(y, outputs):
        return factor * loss(y, outputs)

    pairs = [(EKG(), EKG(loss=scaled), factor), (Taylor(), Taylor(loss=scaled), factor**2)]
    for plain, larger, growth in pairs:
        scores = plain.scores(model, groups, examples(seed))
        np.testing.assert_allclose(larger.scores(model, groups, examples(seed)), growth * scores, rtol=1e-3, atol=1e-6)


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_random_scores_depend_on_the_seed_only(seed):
    model = build((4, 3))
    groups = channel_groups(model)
    scores = Random(seed).scores(model, groups)
    np.testing.assert_array_equal(scores, Random(seed).scores(model, groups))
    assert scores.shape == (7,)
    assert len(set(scores)) == 7
    assert not np.array_equal(scores, Random(seed + 1).scores(model, groups))


@pytest.mark.parametrize("name", criteria.names())
def test_every_criterion_can_judge_a_plain_network_and_leaves_it_alone(name):
    model = random_model((5, 4), 0)
    weights = model.get_weights()
    scores = criteria.get(name).scores(model, channel_groups(model), examples(0))
    assert scores.dtype == np.float64
    judged = 5 if name == "bn_scale" else 9
    assert np.isfinite(scores).sum() == judged
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
