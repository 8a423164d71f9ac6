"""What holds for all criteria that prune kernel after kernel."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.criteria import RIA, Magnitude, SparseGPT, Wanda
from tfprune.errors import ConfigError
from tfprune.graph import SharedWeightsWarning, convert, prunable_weights
from tfprune.masks import Masks

layers = keras.layers
CRITERIA = (Wanda, RIA, SparseGPT)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 5, 5, 4)).astype(np.float32)


def network(seed=0):
    """A convolution with groups, a depthwise one, an einsum and a dense layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((5, 5, 4))
    x = layers.Conv2D(6, 3, groups=2, activation="relu", name="conv")(inputs)
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.Reshape((4, 6))(x)
    x = layers.EinsumDense("abc,cde->abde", (4, 2, 5), activation="relu", name="heads")(x)
    x = layers.EinsumDense("abcd,cde->abe", (4, 8), name="joined")(x)
    return keras.Model(inputs, layers.Dense(3, name="fc")(layers.Flatten()(x)))


def exactly(size, percent):
    return size - (100 - percent) * size // 100


@pytest.mark.parametrize("kind", CRITERIA)
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 99), st.integers(0, 3))
def test_exact_counts(kind, scope, percent, seed):
    model = network(seed)
    density = percent / 100
    masks = kind(scope=scope)(model, density, [(IMAGES[:8], None)])
    sizes = {name: int(np.prod(weight.shape)) for name, weight in prunable_weights(model).items()}
    if scope == "local":
        assert masks.counts == {name: (exactly(size, percent), size) for name, size in sizes.items()}
    else:
        total = sum(sizes.values())
        assert masks.kept == exactly(total, percent)
        assert all(abs(kept - density * size) < 1 for kept, size in masks.counts.values())


@pytest.mark.parametrize("kind", CRITERIA)
def test_a_copy_is_pruned(kind):
    model = network()
    before = [np.asarray(weight).copy() for weight in model.weights]
    pruned, masks = kind().prune(model, 0.4, [(IMAGES[:20], None), (IMAGES[20:], None)])
    assert kind()(model, 0.4, [(IMAGES[:20], None), (IMAGES[20:], None)]) == masks
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight)
    new, old = prunable_weights(pruned), prunable_weights(model)
    changed = False
    for name, mask in masks.items():
        assert not np.asarray(new[name])[~mask].any()
        changed |= not np.array_equal(np.asarray(new[name])[mask], np.asarray(old[name])[mask])
    assert changed == kind.updates == (kind is SparseGPT)
    sparse = convert(pruned, "masked", masks)
    np.testing.assert_allclose(sparse(IMAGES), pruned(IMAGES), atol=1e-6)


@pytest.mark.parametrize("kind", CRITERIA)
def test_earlier_masks(kind):
    """Weights that are gone stay so, and count as 0 for all that follow."""
    model = network()
    first = kind()(model, 0.6, [(IMAGES, None)])
    pruned, fewer = kind().prune(model, 0.2, [(IMAGES, None)], masks=first)
    assert fewer & first == fewer
    assert fewer.kept == exactly(fewer.total, 20)
    gone = convert(convert(model, "masked", first), "plain")
    other, same = kind().prune(gone, 0.2, [(IMAGES, None)], masks=first)
    assert same == fewer
    for one, two in zip(pruned.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", CRITERIA)
def test_patterns(kind):
    model = network()
    ignored = ("conv", "depthwise", "heads")
    criterion = kind(pattern=[2, 4], ignore=(*ignored, "joined"))
    mask = criterion(model, 0.5, [(IMAGES, None)])["fc/kernel"]
    assert (mask.reshape(8, 4, 3).sum(axis=1) == 2).all()
    mask = kind(pattern=(1, 5), ignore=(*ignored, "fc"), scope="local")(model, 0.2, [(IMAGES, None)])["joined/kernel"]
    assert (mask.sum(axis=1) == 1).all()  # 5 features of each of 2 heads, one after the other
    for settings_, density, message in (
        (
            {"pattern": (2, 4), "ignore": ignored},
            0.5,
            "multiples of 4 weights, received 10 in joined/kernel; ignore it",
        ),
        (
            {"pattern": (2, 4), "ignore": (*ignored, "joined")},
            0.4,
            r"density: expected 0.5, that of the pattern \(2, 4\)",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(**settings_)(model, density, [(IMAGES, None)])
    full = Masks({"fc/kernel": np.arange(96).reshape(32, 3) > 0})
    with pytest.raises(ConfigError, match="pattern: expected no earlier masks, received some of fc/kernel"):
        criterion(model, 0.5, [(IMAGES, None)], masks=full)


@pytest.mark.parametrize("pattern", [(4, 4), (0, 4), (2,), 4, "2:4", (1.5, 4)])
def test_impossible_patterns(pattern):
    with pytest.raises(ConfigError, match="pattern"):
        Wanda(pattern=pattern)


@pytest.mark.parametrize("kind", CRITERIA)
def test_the_next_kernel_reads_what_the_pruned_one_makes(kind):
    """The second layer is decided as if the first had been pruned beforehand."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu", name="a"), layers.Dense(4, name="b")])
    x = RNG.normal(size=(50, 6)).astype(np.float32)
    pruned, masks = kind(scope="local").prune(model, 0.5, [(x, None)])
    beforehand = keras.models.clone_model(model)
    beforehand.set_weights(model.get_weights())
    beforehand.get_layer("a").kernel.assign(pruned.get_layer("a").kernel)
    other, alone = kind(scope="local", ignore="a").prune(beforehand, 0.5, [(x, None)])
    np.testing.assert_array_equal(alone["b/kernel"], masks["b/kernel"])
    np.testing.assert_array_equal(other.get_layer("b").kernel, pruned.get_layer("b").kernel)


@pytest.mark.parametrize("kind", CRITERIA)
def test_inputs_that_are_always_zero(kind):
    """Nothing is read of two features, and nothing at all by the last layer: counts hold, numbers are finite."""
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, name="a"),
            layers.ReLU(),
            layers.Dense(4, name="b"),
            layers.Dense(2, name="c"),
        ]
    )
    model.get_layer("a").bias.assign(np.full(5, -1e6))
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    x[:, [1, 4]] = 0
    pruned, masks = kind(scope="local").prune(model, 0.5, [(x, None)])
    assert masks.counts == {"a/kernel": (15, 30), "b/kernel": (10, 20), "c/kernel": (4, 8)}
    assert not masks["a/kernel"][[1, 4]].any()
    assert all(np.isfinite(weight).all() for weight in pruned.get_weights())


@pytest.mark.parametrize("kind", [*CRITERIA, Magnitude])
def test_half_precision(kind):
    """Moments and solutions are in double precision; kernels keep their own."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(8, "gelu", name="a", dtype="bfloat16"), layers.Dense(4, name="b", dtype="bfloat16")]
    model = keras.Sequential([keras.Input((6,)), *stack])
    x = RNG.normal(size=(40, 6)).astype(np.float32)
    data = None if kind is Magnitude else [(x, None)]
    first = kind()(model, 0.7, data)
    pruned, masks = kind().prune(model, 0.5, data, masks=first)
    assert masks.kept == 40
    for name, kernel in prunable_weights(pruned).items():
        assert kernel.dtype == "bfloat16"
        values = np.asarray(kernel, np.float32)
        assert np.isfinite(values).all()
        assert not values[~masks[name]].any()


@pytest.mark.parametrize("kind", [*CRITERIA, Magnitude])
def test_layers_that_share_a_kernel(kind):
    """In the copy each has its own, and both are pruned as the one kernel that they are."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 6))
    shared = layers.Dense(6, name="shared")
    x = layers.TimeDistributed(shared, name="each")(inputs)
    x = shared(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, layers.Dense(2, name="fc")(x))
    data = None if kind is Magnitude else [(RNG.normal(size=(9, 4, 6)).astype(np.float32), None)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks = kind()(model, 0.5, data)
    with pytest.warns(SharedWeightsWarning, match="each and shared share weights"):
        pruned, same = kind().prune(model, 0.5, data)
    assert same == masks
    assert list(masks) == ["each/layer.kernel", "fc/kernel"]
    kernels = prunable_weights(pruned)
    assert not np.asarray(kernels["each/layer.kernel"])[~masks["each/layer.kernel"]].any()
    np.testing.assert_array_equal(kernels["each/layer.kernel"], kernels["shared/kernel"])


@pytest.mark.parametrize("kind", CRITERIA)
def test_mistakes(kind):
    model = network()
    with pytest.raises(ConfigError, match=f"{kind.name} looks at data"):
        kind()(model, 0.5)
    for setting in ({"iterations": 2}, {"original_ties": True}, {"revive": True}):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))}: {kind.name} decides at once"):
            kind(**setting)
    lstm = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, name="lstm"), layers.Dense(2, name="fc")])
    data = [(np.ones((5, 4, 3), np.float32), None)]
    with pytest.raises(ConfigError, match=r"received lstm/cell.kernel, lstm/cell.recurrent_kernel, of other kinds; "):
        kind()(lstm, 0.5, data)
    assert kind(ignore="lstm")(lstm, 0.5, data).kept == 2
