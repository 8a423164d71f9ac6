import warnings
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.criteria import (
    SNIP,
    GraSP,
    LayerCollapseWarning,
    Magnitude,
    RandomWeights,
    SynFlow,
    WeightCriterion,
    register_weight_criterion,
    registry,
    weight_criterion,
    weight_names,
)
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights
from tfprune.masks import Masks

layers = keras.layers


def make_model(activation=None):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="conv", kernel_initializer=keras.initializers.GlorotUniform(1))(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.Flatten()(layers.SeparableConv2D(3, 2, name="sep")(x))
    x = layers.Dense(5, activation, name="fc", kernel_initializer=keras.initializers.GlorotUniform(2))(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return make_model()


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(8, 6, 6, 2)).astype(np.float32), rng.integers(0, 5, 8))]


TOTAL = 72 + 16 + 12 + 135


NAMES = ("fisher", "grad_norm", "grasp", "magnitude", "random", "snip", "synflow")


def used(name, data):
    """The data, for criteria that look at some."""
    return None if weight_criterion(name).uses_data == "never" else data


def test_names():
    assert set(NAMES) <= set(weight_names())
    for name in NAMES:
        assert weight_criterion(name).name == name
    assert {name for name in NAMES if weight_criterion(name).uses_data == "always"} == {
        "fisher",
        "grad_norm",
        "grasp",
        "snip",
    }


@pytest.mark.parametrize("name", NAMES)
def test_exact_counts_and_an_untouched_model(model, data, name):
    before = [np.asarray(variable).copy() for variable in model.variables]
    data = used(name, data)
    masks = weight_criterion(name, iterations=2)(model, 0.37, data)
    assert masks.kept == TOTAL - int(0.63 * TOTAL)
    masks.check(prunable_weights(model))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert weight_criterion(name, iterations=2)(model, 0.37, data) == masks


@settings(deadline=None, max_examples=8)
@given(
    density=st.floats(1e-3, 1),
    iterations=st.integers(1, 4),
    schedule=st.sampled_from(["exponential", "linear"]),
    scope=st.sampled_from(["global", "local"]),
)
def test_counts_of_any_setting(density, iterations, schedule, scope):
    model = make_model()
    criterion = Magnitude(iterations=iterations, schedule=schedule, scope=scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        masks = criterion(model, density)
    if scope == "global":
        assert masks.kept == TOTAL - int((1.0 - density) * TOTAL)
    else:
        assert all(kept == size - int((1.0 - density) * size) for kept, size in masks.counts.values())
    one = Magnitude(scope=scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        assert one(model, density) == masks  # sizes do not change on the way


def test_a_number_to_keep(model):
    assert RandomWeights()(model, kept=117).kept == 117
    assert RandomWeights(iterations=3)(model, kept=100).kept == 100


def test_pruned_weights_stay_pruned_unless_revived(model, data):
    first = RandomWeights(seed=1)(model, 0.5)
    second = SNIP()(model, 0.2, data, masks=first)
    assert second & first == second
    assert second.kept == TOTAL - int(0.8 * TOTAL)
    revived = SNIP(revive=True)(model, 0.2, data, masks=first)
    assert revived & first != revived
    with pytest.raises(ConfigError, match=r"expected at most that of the masks \(0.5"):
        SNIP()(model, 0.7, data, masks=first)


def test_masks_in_another_order(model):
    start = RandomWeights(seed=1)(model, 0.5)
    shuffled = Masks({name: start[name] for name in reversed(list(start))})
    found = Magnitude()(model, 0.2, masks=shuffled)
    assert found == Magnitude()(model, 0.2, masks=start)
    assert list(found) == list(start)


@pytest.mark.parametrize("name", NAMES)
def test_the_scores_that_decided(model, data, name):
    """They are those of the last round, given the masks of the one before."""
    criterion, given = weight_criterion(name, iterations=2), used(name, data)
    found = []
    masks = criterion(model, 0.25, given, on_scores=found.append)
    (scores,) = found
    before = weight_criterion(name, iterations=1)(model, 0.5, given)
    for key, score in weight_criterion(name).weight_scores(model, None, given, masks=before).items():
        assert scores[key].dtype == np.float64
        np.testing.assert_allclose(scores[key], score, rtol=1e-6, atol=1e-12 * np.abs(score).max())
    flat = np.concatenate([np.where(before[key], scores[key], -np.inf).ravel() for key in masks])
    kept = np.concatenate([mask.ravel() for mask in masks.values()])
    assert flat[kept].min() >= flat[~kept].max()


def test_scores_of_a_lottery_ticket_are_those_of_convolutions(model):
    found = []
    weight_criterion("lottery")(model, 0.8, on_scores=found.append)
    assert set(found[0]) == {"conv/kernel", "sep/depthwise_kernel", "sep/pointwise_kernel"}
    for name, score in found[0].items():
        np.testing.assert_allclose(score, np.abs(prunable_weights(model)[name]), rtol=1e-7)


def test_ties_are_broken_by_position(model):
    constant = keras.Sequential([keras.Input((4,)), layers.Dense(5, kernel_initializer="ones", name="fc")])
    mask = Magnitude()(constant, 0.5)["fc/kernel"]
    np.testing.assert_array_equal(mask.ravel(), np.arange(20) < 10)
    with pytest.warns(LayerCollapseWarning, match="nothing is left of fc/kernel; keep a larger density"):
        assert Magnitude(original_ties=True)(constant, 0.5).kept == 0


def test_ignored_layers_have_no_mask(model):
    masks = Magnitude(ignore="fc")(model, 0.5)
    assert list(masks) == ["conv/kernel", "sep/depthwise_kernel", "sep/pointwise_kernel"]
    assert Magnitude(ignore=[model.get_layer("fc")])(model, 0.5) == masks


def test_collapse_is_told(model):
    with pytest.warns(LayerCollapseWarning) as told:
        masks = Magnitude()(model, kept=1)
    assert told[0].message.names == masks.collapsed
    assert len(masks.collapsed) == 3


def test_scores(model, data):
    scores = SNIP().weight_scores(model, ["fc/kernel"], data)
    every = SNIP().weight_scores(model, None, data)
    assert list(scores) == ["fc/kernel"]
    assert scores["fc/kernel"].dtype == np.float64
    np.testing.assert_allclose(scores["fc/kernel"], every["fc/kernel"])
    assert list(SNIP(ignore="fc").weight_scores(model, None, data)) == list(every)[:-1]
    with pytest.raises(ConfigError, match="received 'fc/bias'"):
        SNIP().weight_scores(model, ["fc/bias"], data)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision(model, data, name):
    if name in ("magnitude", "random"):
        with pytest.raises(ConfigError, match="received precision"):
            weight_criterion(name, precision="float32")
        return
    double = weight_criterion(name).weight_scores(model, None, data)
    single = weight_criterion(name, precision="float32").weight_scores(model, None, data)
    for weight, score in double.items():
        assert 1e-12 < np.abs(single[weight] - score).max() / np.abs(score).max() < 1e-3


@pytest.mark.parametrize("density", [0, -0.1, 1.01, float("nan"), float("inf"), True, "0.1"])
def test_impossible_densities(model, density):
    with pytest.raises(ConfigError, match="density: expected the fraction of weights to keep"):
        Magnitude()(model, density)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: Magnitude()(m), "expected one of density and kept"),
        (lambda m: Magnitude()(m, 0.5, kept=3), "expected one of density and kept"),
        (lambda m: Magnitude()(m, kept=0), "kept: expected a whole number from 1 to 235, received 0"),
        (lambda m: Magnitude()(m, kept=0.5), "kept: expected a whole number"),
        (lambda m: Magnitude(scope="local")(m, kept=5), "kept: expected scope='global'"),
        (lambda m: Magnitude(iterations=0), "iterations: expected a whole number from 1 to 2147483647, received 0"),
        (lambda m: Magnitude(iterations=1.5), "iterations: expected a whole number"),
        (lambda m: Magnitude(schedule="cubic"), "schedule"),
        (lambda m: Magnitude(scope="layer"), "scope"),
        (lambda m: SynFlow(precision="float16"), "precision"),
        (lambda m: GraSP(variant="own"), "variant"),
        (lambda m: GraSP(temperature=0), "temperature: expected a number above 0"),
        (lambda m: GraSP(parts=0), "parts: expected a whole number from 1"),
        (lambda m: Magnitude(ignore="nothing")(m, 0.5), "'nothing', which it lacks"),
        (lambda m: Magnitude()(m, 0.5, masks=Masks({"a": [1]})), "received one of a, which is no prunable weight"),
        (
            lambda m: weight_criterion("synaptic"),
            "expected a criterion for weights of dpp_edge, .*, received 'synaptic'",
        ),
        (lambda m: weight_criterion("snip", seed=3), "criterion snip: expected settings of .*, received seed"),
    ],
)
def test_mistakes(model, call, message):
    with pytest.raises(ConfigError, match=message):
        call(model)


@pytest.mark.parametrize("name", ["snip", "grasp", "grad_norm", "fisher"])
def test_data_are_missing(model, name):
    with pytest.raises(ConfigError, match=f"criterion {name} looks at data: .*, received none; give data="):
        weight_criterion(name)(model, 0.5)


@pytest.mark.parametrize("name", ["synflow", "snip", "grasp", "magnitude", "lottery"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(data, name, value):
    model = make_model()
    kernel = np.asarray(model.get_layer("conv").kernel).copy()
    kernel[0, 0, 0, 0] = value
    model.get_layer("conv").kernel.assign(kernel)
    with pytest.raises(ConfigError, match=r"the weight conv/kernel of .*: expected finite numbers, received 1 of "):
        weight_criterion(name)(model, 0.9, used(name, data))


def test_scores_that_are_not_finite():
    model = make_model()
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 1e30))
    with pytest.raises(ConfigError, match=r"criterion synflow: expected finite scores, .* first in conv/kernel"):
        weight_criterion("synflow", precision="float32", iterations=1)(model, 0.9)


@pytest.mark.parametrize(("name", "density"), [("magnitude", 0.5), ("lottery", 0.8), ("smart_ratio", 0.5)])
def test_data_that_are_not_looked_at_are_refused(model, data, name, density):
    with pytest.raises(ConfigError, match=f"data: expected none for criterion {name}"):
        weight_criterion(name)(model, density, data)


def test_scores_that_are_all_zero(data):
    model = make_model()
    model.get_layer("fc").kernel.assign(np.zeros((27, 5)))
    for layer in ("conv", "sep"):
        for variable in model.get_layer(layer).trainable_variables:
            variable.assign(np.zeros(variable.shape))
    for name in ("magnitude", "synflow", "snip"):
        with pytest.raises(ConfigError, match="received zeros only"):
            weight_criterion(name)(model, 0.5, used(name, data))


def test_a_criterion_of_ones_own(model):
    @register_weight_criterion("last")
    @dataclass(frozen=True, kw_only=True)
    class Last(WeightCriterion):
        def scores(self, model, masks, data):
            return {
                name: tf.reshape(tf.range(tf.size(mask), dtype=tf.float64), mask.shape) + 1
                for name, mask in masks.items()
            }

    try:
        masks = weight_criterion("last", ignore=("conv", "sep"))(model, kept=10)
        assert masks["fc/kernel"].ravel()[-10:].all()
        with pytest.raises(ConfigError, match=r"is .*Last already"):
            register_weight_criterion("last")(Magnitude)
    finally:
        del registry._INFOS["weights", "last"], registry._CLASSES["weights", "last"]
    with pytest.raises(ConfigError, match="expected a subclass of WeightCriterion"):
        register_weight_criterion("other")(dict)


def test_a_criterion_may_take_the_weights_themselves(model, monkeypatch):
    for table in ("_INFOS", "_CLASSES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))

    @register_weight_criterion("mine")
    class Mine(WeightCriterion):
        def scores(self, model, weights, data=None):
            return {n: np.abs(np.asarray(w)) for n, w in weights.items()}

    assert Mine()(model, 0.4) == Magnitude()(model, 0.4)
    local = {"scope": "local", "iterations": 3, "ignore": "fc"}
    assert Mine(**local)(model, 0.4) == Magnitude(**local)(model, 0.4)
    assert (Mine().name, Mine().uses_data) == ("mine", "never")
    assert weight_criterion("mine", **local) == Mine(**local)
    with pytest.raises(TypeError, match="abstract"):
        WeightCriterion()


def test_what_is_made_once_is_made_in_each_pruning(model):
    made = []

    class Counting(WeightCriterion):
        def scores(self, model, masks, data=None):
            offset = self.once("offset", lambda: made.append(len(made)) or 1.0)
            return {name: np.full(mask.shape, offset) for name, mask in masks.items()}

    criterion = Counting(iterations=4)
    criterion(model, 0.5)
    assert made == [0]
    criterion(model, 0.5)
    assert made == [0, 1]


def test_data_reach_a_criterion_of_ones_own(model, data):
    class Seen(WeightCriterion):
        uses_data = "always"

        def scores(self, model, masks, data):
            examples = sum(len(y) for _, y in data.batches())
            return {name: np.full(mask.shape, examples) for name, mask in masks.items()}

    assert Seen().weight_scores(model, None, data)["fc/kernel"].max() == 8
    with pytest.raises(ConfigError, match=r"criterion Seen looks at data: .*, received none"):
        Seen()(model, 0.5)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda masks: dict.fromkeys(masks, np.ones(3)), r"expected scores of shape \(3, 3, 2, 4\) for conv/kernel"),
        (lambda masks: {"fc/kernel": 1.0}, "expected a dict with scores of conv/kernel, .*, received fc/kernel"),
        (lambda masks: [1.0], "expected a dict with scores of .*, received list"),
    ],
)
def test_scores_of_another_form(model, scores, message):
    class Wrong(WeightCriterion):
        def scores(self, model, masks, data=None):
            return scores(masks)

    with pytest.raises(ConfigError, match=f"criterion Wrong: {message}"):
        Wrong()(model, 0.5)
