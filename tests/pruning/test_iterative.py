from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import Magnitude
from tfprune.errors import ConfigError, PruningError
from tfprune.graph import complexity
from tfprune.masks import Masks
from tfprune.pruning import iterative_tickets, plan_channels, prune_channels
from tfprune.pruning.iterative import SCHEDULES, kept_fractions

layers = keras.layers


def equal(first, second):
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_step_is_what_the_plan_does(mixed, make):
    settings = {"flops": 0.7, "round_to": 2, "ignore": "stem_bn"}
    small = prune_channels(mixed, make.kernels(), **settings)
    equal(small, plan_channels(mixed, make.kernels(), **settings).apply())


@pytest.mark.parametrize("schedule", ["linear", "exponential", "cubic"])
def test_steps_meet_targets_relative_to_the_original(mixed, make, schedule):
    from tfprune.pruning.iterative import kept_fractions

    whole = complexity(mixed).flops
    seen = []

    def between(model, step):
        seen.append((step, complexity(model).flops / whole))

    small = prune_channels(mixed, make.kernels(), flops=0.5, steps=3, schedule=schedule, between=between)
    assert [step for step, _ in seen] == [1, 2]
    for reached, asked in zip(
        [*(flops for _, flops in seen), complexity(small).flops / whole], kept_fractions(0.5, 3, schedule), strict=True
    ):
        assert reached <= asked + 1e-12
    assert seen[0][1] < 1


def test_scores_of_independent_channels_do_not_change_so_steps_do_not_matter(mixed, make):
    class Everywhere:
        """Scores that every unit carries along in the kernel that makes it."""

        def scores(self, model, groups, data=None):
            result = np.zeros(groups.channels)
            for group in groups:
                bias = np.asarray(groups.layers[group.layers[0]].bias)
                out = next(s for s in groups.slots[group.layers[0]] if s.role == "out" and s.weight == "bias")
                np.add.at(result, out.channels, bias)
            return result

    for scope in ("global", "local"):
        settings = {"flops": 0.5, "scope": scope}
        equal(
            prune_channels(mixed, Everywhere(), steps=4, **settings),
            prune_channels(mixed, Everywhere(), **settings),
        )


def test_each_step_scores_what_is_left_and_limits_are_those_of_the_original(by_hand):
    sizes = []

    class Last:
        """The last unit of every group goes first, `b` before `a`."""

        def scores(self, model, groups, data=None):
            sizes.append([group.size for group in groups])
            return np.concatenate([10.0 * (index == 0) - np.arange(g.size) for index, g in enumerate(groups)])

    small = prune_channels(by_hand, Last(), density=4 / 7, steps=3, max_sparsity=0.5)
    # b may lose 1 of 3 and a 2 of 4, over all steps together
    assert sizes == [[4, 3], [4, 2], [3, 2]]
    assert (small.get_layer("a").units, small.get_layer("b").units) == (2, 2)
    np.testing.assert_array_equal(small.get_layer("a").kernel, np.asarray(by_hand.get_layer("a").kernel)[:, :2])


def test_between_may_train_or_replace_the_model(by_hand, make):
    def between(model, step):
        model.get_layer("a").kernel.assign_add(np.full_like(np.asarray(model.get_layer("a").kernel), 100.0))
        return keras.models.clone_model(model) if step == 2 else None

    small = prune_channels(by_hand, make.kernels(), flops=0.3, steps=3, between=between)
    assert np.abs(np.asarray(small.get_layer("a").kernel)).max() < 50  # the clone has fresh weights
    small = prune_channels(by_hand, make.kernels(), flops=0.3, steps=2, between=between)
    assert np.abs(np.asarray(small.get_layer("a").kernel)).min() > 50
    with pytest.raises(PruningError, match=r"between: expected a model of the layers that it was given"):
        prune_channels(by_hand, make.kernels(), flops=0.3, steps=2, between=lambda model, step: make.hand_made())


def test_a_target_out_of_reach_shows_before_the_first_training(by_hand, make):
    def between(model, step):
        raise AssertionError("too late")

    with pytest.raises(PruningError, match=r"flops=0.1 cannot be met"):
        prune_channels(by_hand, make.kernels(), flops=0.1, steps=5, between=between)


def test_settings_are_checked(by_hand, make):
    with pytest.raises(ConfigError, match=r"schedule: expected one of"):
        prune_channels(by_hand, make.kernels(), flops=0.5, schedule="fast")
    with pytest.raises(ConfigError, match=r"exactly one of"):
        prune_channels(by_hand, make.kernels())


def test_the_criterion_gets_the_data(by_hand, make):
    seen = []

    class Looking(make.kernels):
        def scores(self, model, groups, data=None):
            seen.append(data)
            return super().scores(model, groups)

    prune_channels(by_hand, Looking(), flops=0.5, steps=2, data="the data")
    assert seen == ["the data"] * 2


@pytest.mark.parametrize("prune", [plan_channels, prune_channels])
def test_data_that_the_criterion_does_not_look_at_are_refused(by_hand, prune):
    with pytest.raises(ConfigError, match="data: expected none for criterion l2, which uses none; leave data= out"):
        prune(by_hand, "l2", flops=0.5, data=(np.zeros((4, 1)), np.zeros(4)))


def batch_norm_model() -> keras.Model:
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("kind", ["arrays", "array", "dataset", "inputs", "mappings"])
def test_batch_norms_get_the_statistics_of_the_data(make, kind):
    images = np.random.default_rng(0).normal(3, 2, (64, 4, 4, 2)).astype(np.float32)
    labels = np.zeros(64, np.int64)
    data = {
        "arrays": (images, labels),
        "array": images,
        "dataset": tf.data.Dataset.from_tensor_slices((images, labels)).batch(32),
        "inputs": tf.data.Dataset.from_tensor_slices(images).batch(32),
        "mappings": [{"images": images, "labels": labels}],
    }[kind]
    small = prune_channels(batch_norm_model(), make.kernels(), density=0.5, recalibrate=data)
    outputs = np.asarray(small.get_layer("conv")(images)).reshape(-1, 3)
    np.testing.assert_allclose(small.get_layer("bn").moving_mean, outputs.mean(0), rtol=1e-4)
    if kind not in ("dataset", "inputs"):
        np.testing.assert_allclose(small.get_layer("bn").moving_variance, outputs.var(0), rtol=1e-3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "recalibrate: expected batches .* received int"),
        ({"x": 1}, "received int in place of an array"),
        ([{"x": np.ones((2, 4, 4, 2))}], r"expected 1 inputs .*, received x; add"),
        ([np.zeros(3)], r"recalibrate: the input .* of shape \[examples, .*\], received \[3\]"),
        (tf.data.Dataset.from_tensors(np.zeros((2, 4, 4, 2))).repeat(), r"repeats for ever; use \.take"),
        ([], "at least one batch, received none"),
    ],
)
def test_bad_data_for_recalibration_is_refused(make, data, message):
    with pytest.raises(ConfigError, match=message):
        prune_channels(batch_norm_model(), make.kernels(), density=0.5, recalibrate=data)


@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_with_criteria_by_name(mixed, criterion):
    rng = np.random.default_rng(0)
    examples = (rng.normal(size=(8, 6, 6, 2)).astype(np.float32), np.arange(8) % 3)
    data = examples if criterion == "taylor" else None
    plan = plan_channels(mixed, criterion, flops=0.5, data=data)
    assert plan.criterion == criterion
    assert plan == plan_channels(mixed, criterion, flops=0.5, data=data)
    small = prune_channels(mixed, criterion, flops=0.5, data=data, steps=2, round_to=2, recalibrate=examples)
    assert complexity(small).flops <= 0.5 * complexity(mixed).flops
    assert small(examples[0]).shape == (8, 3)


def test_schedules_by_hand():
    assert kept_fractions(0.2, 4, "linear") == pytest.approx((0.8, 0.6, 0.4, 0.2))
    assert kept_fractions(1 / 16, 4, "exponential") == pytest.approx((1 / 2, 1 / 4, 1 / 8, 1 / 16))
    # 0.5 + 0.5 * (1 - t) ** 3 at t = 1/4, 1/2, 3/4, 1
    assert kept_fractions(0.5, 4, "cubic") == pytest.approx((0.5 + 13.5 / 64, 0.5625, 0.5 + 0.5 / 64, 0.5))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_step_is_exactly_the_target(schedule):
    assert kept_fractions(0.3, 1, schedule) == (0.3,)
    assert kept_fractions(0.3, 7, schedule)[-1] == 0.3
    assert list(kept_fractions(0.3, 7, schedule)) == sorted(kept_fractions(0.3, 7, schedule), reverse=True)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="schedule: expected one of linear, exponential, cubic, received 'fast'"):
        kept_fractions(0.5, 2, "fast")
    for steps in (0, 1.5, True):
        with pytest.raises(ConfigError, match="steps: expected a whole number from 1"):
            kept_fractions(0.5, steps, "linear")


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(8, name="b")])


class Train:
    """Notes what it is called with; training draws new weights."""

    def __init__(self):
        self.calls = []

    def __call__(self, number, start, masks):
        self.calls.append((number, start.get_weights(), masks))
        trained = keras.models.clone_model(start)
        random = np.random.default_rng(number)
        trained.set_weights([random.standard_normal(weight.shape) for weight in start.get_weights()])
        return trained


def test_rounds_prune_what_is_left_of_the_trained_network(model):
    train, before = Train(), model.get_weights()
    found = list(iterative_tickets(model, 0.125, train, rounds=3))
    assert [masks.kept for masks in found] == [64, 32, 16]
    for earlier, later in pairwise(found):
        assert (earlier & later) == later
    for number, start, _ in train.calls:
        for one, other in zip(start, before, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"round {number} goes back to the start")
    assert [masks.kept for *_, masks in train.calls] == [128, 64, 32]
    second = Train()(2, model, found[0])
    assert found[1] == Magnitude()(second, 0.25, masks=found[0])


def test_going_on_gives_the_same(model):
    whole = list(iterative_tickets(model, 0.1, Train(), rounds=4))
    rest = list(iterative_tickets(model, 0.1, Train(), rounds=4, masks=whole[1], first_round=3))
    assert rest == whole[2:]
    assert list(iterative_tickets(model, 0.1, Train(), rounds=4, masks=whole[3], first_round=5)) == []


def test_one_round_is_one_shot(model):
    (masks,) = iterative_tickets(model, 0.3, lambda number, start, masks: start, rounds=1)
    assert masks == Magnitude()(model, 0.3)
    assert isinstance(masks, Masks)


@pytest.mark.parametrize(("density", "rounds"), [(0, 2), (1.5, 2), (0.5, 0)])
def test_bad_numbers(model, density, rounds):
    with pytest.raises(ConfigError, match="density above 0"):
        next(iterative_tickets(model, density, Train(), rounds=rounds))
