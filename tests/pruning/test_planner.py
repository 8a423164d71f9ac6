import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune import register_rule
from tfprune.errors import ConfigError, PruningError, UnsupportedLayerError
from tfprune.graph import CostModel, channel_groups, slim
from tfprune.pruning import PruningHistory, PruningPlan, Totals, plan_channels, prune_channels

layers = keras.layers
WHOLE_A, WHOLE_B = (0, 1, 2, 3), (0, 1, 2)


@pytest.mark.parametrize(
    ("asked", "a", "b", "flops"),
    [
        # The order is b0 a1 b2 a3 a2 a0 b1, the cost a + a b + 2 b: 22, and then 16, 13, 8, 6, 4.
        ({"flops": 1.0}, WHOLE_A, WHOLE_B, 22),
        ({"flops": 0.99}, WHOLE_A, (1, 2), 16),
        ({"flops": 0.6}, (0, 2, 3), (1, 2), 13),
        ({"flops": 0.5}, (0, 2, 3), (1,), 8),
        ({"params": 0.5}, (0, 2, 3), (1,), 8),
        ({"flops": 0.2}, (0,), (1,), 4),
        # Seven channels: 3 of them are less than half, 4 are not.
        ({"density": 0.5}, (0, 2), (1,), 6),
        ({"density": 0.58}, (0, 2, 3), (1,), 8),
        ({"flops": 0.5, "min_channels": 2}, (0, 2), (1, 2), 10),
        # The widths 4 and 2 are allowed for a, 3 and 2 for b.
        ({"flops": 0.75, "round_to": 2}, WHOLE_A, (1, 2), 16),
        # At 10 both have lost a step. With that of b back it is 14, of at most 15.4; with that of a it is 16.
        ({"flops": 0.7, "round_to": 2}, (0, 2), WHOLE_B, 14),
        ({"flops": 0.5, "round_to": 2}, (0, 2), (1, 2), 10),
        # b is narrower than 4, and so is what a could be rounded down to.
        ({"flops": 1.0, "round_to": 4}, WHOLE_A, WHOLE_B, 22),
        # a may lose 2 of 4, b 1 of 3.
        ({"flops": 0.5, "max_sparsity": 0.5}, (0, 2), (1, 2), 10),
        # Fractions lost: 1/4 (a1), 1/3 (b0), 1/2 (a3), 2/3 (b2), 3/4 (a2).
        ({"flops": 0.9, "scope": "local"}, (0, 2, 3), WHOLE_B, 18),
        ({"flops": 0.6, "scope": "local"}, (0, 2, 3), (1, 2), 13),
        ({"flops": 0.5, "scope": "local"}, (0, 2), (1, 2), 10),
        ({"flops": 0.4, "scope": "local"}, (0, 2), (1,), 6),
        ({"flops": 0.5, "ignore": "a"}, WHOLE_A, (1,), 10),
        ({"flops": 0.65, "ignore": ["ou?"]}, (0, 2), WHOLE_B, 14),
    ],
)
def test_plans_by_hand(hand, make, asked, a, b, flops):
    plan = plan_channels(hand, make.fixed(), **asked)
    assert plan.keep == {"a": a, "b": b}
    assert plan.before == Totals(7, 22, 22)
    assert plan.after == Totals(len(a) + len(b), flops, flops)


def test_a_target_met_exactly_is_met_however_floats_round():
    inputs = keras.Input((1,))
    x = layers.Dense(100, use_bias=False, name="a")(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(x))
    assert 0.29 * 100 < 29  # in binary
    assert plan_channels(model, density=0.29, criterion=_Constant()).after.channels == 29
    assert plan_channels(model, density=0.5, criterion=_Constant(), max_sparsity=0.58).after.channels == 50
    with pytest.raises(PruningError, match="at least 42 of 100 channels"):
        plan_channels(model, density=0.4, criterion=_Constant(), max_sparsity=0.58)


class _Constant:
    name = "constant"

    def scores(self, model, groups, data=None):
        return np.ones(groups.channels)


def test_equal_scores_go_in_the_order_of_the_model(hand):
    assert plan_channels(hand, _Constant(), density=0.5).keep == {"a": (3,), "b": (1, 2)}


def test_the_same_fraction_of_groups_of_the_same_size_goes_at_once(hand, make):
    model = make.residual()
    plan = plan_channels(model, make.kernels(), density=0.7, scope="local")
    lost = {group.name: 1 - len(group.keep) / group.size for group in plan.groups}
    assert max(lost.values()) - min(lost.values()) < 0.25


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([16, 24, 32]), min_size=2, max_size=5), st.sampled_from([0.35, 0.5, 0.65, 0.8]))
def test_with_coarse_steps_the_same_fractions_go_and_the_target_is_missed_by_one_groups_step(widths, target):
    plan = plan_channels(chain(*widths), "l2", flops=target, scope="local", round_to=8)
    kept, flops = [group.after for group in plan.groups], chain_flops
    assert plan.after.flops == flops(kept) <= target * flops(widths)
    wider = [[*kept[:i], width + 8, *kept[i + 1 :]] for i, width in enumerate(kept) if width < widths[i]]
    assert any(flops(each) > target * flops(widths) for each in wider)
    lost = [(size - width) / size for size, width in zip(widths, kept, strict=True)]
    further = [(size - width + 8) / size for size, width in zip(widths, kept, strict=True) if width > 8]
    assert max(lost) <= min(further, default=1)  # no group goes on before all others have come as far


def test_layers_can_be_ignored_by_name_pattern_object_and_folder(mixed, make):
    nested = mixed.get_layer("nested")
    by_name = plan_channels(mixed, make.kernels(), flops=0.7, ignore="nested/pointwise")
    sizes = {group.name: group.size for group in by_name.groups}
    whole = {name for name, keep in by_name.keep.items() if len(keep) == sizes[name]}
    assert {"stem", "nested/pointwise"} <= whole
    for ignore in ("*/pointwise", [nested.get_layer("pointwise")]):
        assert plan_channels(mixed, make.kernels(), flops=0.7, ignore=ignore).keep == by_name.keep
    for ignore in ("nested", nested, ["nested/*"]):
        assert plan_channels(mixed, make.kernels(), flops=0.7, ignore=ignore).ignore in (("nested",), ("nested/*",))
        assert plan_channels(mixed, make.kernels(), flops=0.7, ignore=ignore).keep == by_name.keep


def test_groups_without_a_score_are_left_alone_and_named(hand, make):
    plan = plan_channels(hand, make.fixed(4, 1, np.nan, 2, 0.5, 5, 1.5), flops=0.5)
    assert plan.keep == {"a": WHOLE_A, "b": (1,)}
    assert "Left alone:\n  a: all 4 channels stay: fixed gives no score" in plan.explain()
    with pytest.raises(PruningError, match=r"at least 10 of 22 FLOPs .*groups without a score"):
        plan_channels(hand, make.fixed(4, 1, np.nan, 2, 0.5, 5, 1.5), flops=0.4)


def test_a_layer_whose_channels_are_a_part_of_a_group_never_runs_empty():
    inputs = keras.Input((1,))
    x = layers.Dense(6, name="wide")(inputs)
    halves = [layers.Dense(3, name="left")(inputs), layers.Dense(3, name="right")(inputs)]
    x = layers.Add()([x, layers.Concatenate()(halves)])
    model = keras.Model(inputs, layers.Dense(1)(x))
    groups = channel_groups(model)
    assert [(group.name, group.size) for group in groups] == [("wide", 6)]

    class RightFirst:
        def scores(self, model, groups, data=None):
            return np.array([6.0, 5, 4, 1, 3, 2])

    plan = plan_channels(model, RightFirst(), density=0.4)
    assert plan.keep == {"wide": (0, 4)}
    assert plan.apply().get_layer("right").units == 1
    assert "2 of 6 channels stay: otherwise a layer would run empty" in plan.explain()
    assert plan_channels(model, RightFirst(), density=0.7, min_channels=2).keep == {"wide": (0, 1, 4, 5)}


def test_a_grouped_convolution_is_rounded_by_its_channels(mixed, make):
    assert [(group.name, group.size, group.multiplicity) for group in channel_groups(mixed)] == [
        ("stem", 2, 4),
        ("inner", 3, 4),
        ("nested/pointwise", 10, 1),
    ]
    plan = plan_channels(mixed, make.kernels(), flops=0.75, round_to=8)
    assert [(group.before, group.after) for group in plan.groups] == [(8, 8), (12, 8), (10, 10)]  # the last came back
    assert plan_channels(mixed, make.kernels(), density=0.97, min_channels=9).groups[1].after == 12


def chain(*widths):
    """Dense layers without biases on one value, ending in one value."""
    inputs = x = keras.Input((1,))
    for index, width in enumerate(widths):
        x = layers.Dense(width, use_bias=False, name=f"fc{index}")(x)
    return keras.Model(inputs, layers.Dense(1, use_bias=False)(x))


def chain_flops(widths):
    return sum(before * after for before, after in zip([1, *widths], [*widths, 1], strict=True))


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.sampled_from([4, 6, 8, 9]), min_size=2, max_size=4),
    target=st.floats(0.2, 1),
    seed=st.integers(0, 999),
    step=st.sampled_from([1, 4]),
)
def test_coarse_steps_come_back_last_first_while_the_target_is_met(widths, target, seed, step):
    scores = np.random.default_rng(seed).permutation(sum(widths)).astype(float)
    allowed = [[width, *(n for n in range(width - 1, 0, -1) if n % step == 0)] for width in widths]
    steps = []  # each goes with the best of its channels
    for index, part in enumerate(np.split(scores, np.cumsum(widths)[:-1])):
        steps += [(np.sort(part)[len(part) - kept - 1], index) for kept in allowed[index][1:]]
    order = [index for _, index in sorted(steps)]

    def kept(taken):
        return [sizes[taken.count(index)] for index, sizes in enumerate(allowed)]

    def fits(taken):
        return chain_flops(kept(taken)) <= target * chain_flops(widths) + 1e-9

    count = next((count for count in range(len(order) + 1) if fits(order[:count])), None)
    if count is None:
        return
    taken, closed = order[:count], set()
    for index in reversed(order[:count]) if step > 1 else ():
        fewer = list(taken)
        fewer.remove(index)
        if index not in closed and fits(fewer):
            taken = fewer
        else:
            closed.add(index)

    class Drawn:
        def scores(self, model, groups, data=None):
            return scores

    plan = plan_channels(chain(*widths), Drawn(), flops=target, round_to=step)
    assert [group.after for group in plan.groups] == kept(taken)


def test_what_an_earlier_plan_removed_does_not_come_back():
    model = chain(16, 16, 16)
    history = PruningHistory()
    small = prune_channels(model, "l2", flops=0.4, round_to=4, steps=4, history=history)
    masks = [plan.mask for plan in history.plans]
    assert all(not np.any(later & ~earlier) for earlier, later in itertools.pairwise(masks))
    assert masks[-1].sum() < masks[0].sum()
    assert [layer.units for layer in small.layers[1:-1]] == [group.after for group in history.plans[-1].groups]


def test_the_example_of_the_guide_fills_its_target():
    """Convolutions of a residual block and one more: the block alone has to lose 16 of 32 channels."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(32, 3, padding="same", name="a")(inputs)
    x = layers.Add()([x, layers.Conv2D(32, 3, padding="same")(x)])
    x = layers.Conv2D(64, 3, strides=2, name="b")(x)
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))

    def flops(a, b):
        return 1024 * 9 * (3 * a + a * a) + 225 * (9 * a * b + 10 * b)

    scores = np.r_[np.linspace(0, 1, 32), np.linspace(0, 1, 64)]

    class Even:
        def scores(self, model, groups, data=None):
            return scores

    plan = plan_channels(model, Even(), flops=0.5, round_to=8)
    assert [group.after for group in plan.groups] == [16, 64]
    assert (plan.before.flops, plan.after.flops) == (flops(32, 64), flops(16, 64))
    assert flops(24, 8) <= 0.5 * flops(32, 64) < flops(24, 32)  # a wider block would leave less than half of b
    assert [(hold.reason, hold.channels > 0) for hold in plan.groups[1].bound][-1] == ("target", True)
    unused = 100 * (0.5 - flops(16, 64) / flops(32, 64))
    assert f"{unused:.2f} % of the FLOPs stay unused: undoing one more removal exceeds the target" in plan.explain()
    fine = plan_channels(model, Even(), flops=0.5)
    assert "unused" not in fine.explain()
    assert all(hold.reason != "target" for group in fine.groups for hold in group.bound)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({}, ConfigError, "expected exactly one of flops, params and density .* received none"),
        ({"flops": 0.5, "params": 0.4}, ConfigError, "received flops=0.5, params=0.4"),
        ({"flops": 50}, ConfigError, "flops: expected the fraction to keep, .* received 50; to keep half, write 0.5"),
        ({"density": 0}, ConfigError, "density: expected the fraction"),
        ({"flops": float("nan")}, ConfigError, "flops: expected the fraction"),
        ({"flops": 0.5, "scope": "layer"}, ConfigError, "scope: expected global or local, received 'layer'"),
        (
            {"flops": 0.5, "round_to": 0},
            ConfigError,
            "round_to: expected a whole number from 1 to .*, received 0",
        ),
        ({"flops": 0.5, "min_channels": 2.5}, ConfigError, "min_channels: expected a whole number"),
        ({"flops": 0.5, "max_sparsity": 1.5}, ConfigError, "max_sparsity: .* between 0 and 1, received 1.5"),
        ({"flops": 0.5, "ignore": "x*"}, UnsupportedLayerError, "ignore: expected layers of the model, received 'x"),
        ({"flops": 0.5, "ignore": [layers.Dense(1, name="alien")]}, UnsupportedLayerError, "'alien'"),
        (
            {"flops": 0.1},
            PruningError,
            r"flops=0.1 cannot be met: at least 4 of 22 FLOPs \(18.2 %\) remain.*Ask for flops=0.182 or more",
        ),
        ({"flops": 0.4, "round_to": 2}, PruningError, r"at least 10 of 22 .*round_to=2"),
        ({"params": 0.4, "min_channels": 2}, PruningError, r"at least 10 of 22 parameters .*min_channels=2"),
        ({"flops": 0.4, "max_sparsity": 0.5, "ignore": "b"}, PruningError, "layers to ignore"),
    ],
)
def test_errors_say_what_to_do(hand, make, asked, error, message):
    with pytest.raises(error, match=message):
        plan_channels(hand, make.fixed(), **asked)


def test_wrong_scores_and_unknown_criteria_are_refused(hand, make):
    with pytest.raises(ConfigError, match=r"criterion fixed: .* of shape \(7,\), received shape \(2,\)"):
        plan_channels(hand, make.fixed(1, 2), flops=0.5)
    with pytest.raises(ConfigError, match=r"l1, .*received 'nonsense'"):
        plan_channels(hand, "nonsense", flops=0.5)


def test_the_least_that_is_offered_can_be_met(mixed, make):
    with pytest.raises(PruningError) as caught:
        plan_channels(mixed, make.kernels(), flops=0.01, round_to=4, ignore="inner")
    offered = float(str(caught.value).partition("Ask for flops=")[2].split()[0])
    plan_channels(mixed, make.kernels(), flops=offered, round_to=4, ignore="inner")


def test_a_model_without_prunable_channels_says_so(make):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(PruningError, match="the model has no prunable channels"):
        plan_channels(model, make.kernels(), flops=0.5)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_plans_hold_their_limits_and_remove_the_least(mixed, data):
    groups = channel_groups(mixed)
    scores = data.draw(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=groups.channels, max_size=groups.channels)
    )
    measure = data.draw(st.sampled_from(["flops", "params", "density"]))
    limits = {
        "round_to": data.draw(st.sampled_from([1, 2, 4])),
        "min_channels": data.draw(st.integers(1, 5)),
        "max_sparsity": data.draw(st.sampled_from([0.6, 0.9, 1.0])),
        "scope": data.draw(st.sampled_from(["global", "local"])),
    }
    fraction = data.draw(st.floats(0.3, 1))

    class Drawn:
        def scores(self, model, groups, data=None):
            return np.array(scores)

    try:
        plan = plan_channels(mixed, Drawn(), **{measure: fraction}, **limits)
    except PruningError:
        return
    assert plan == plan_channels(mixed, Drawn(), **{measure: fraction}, **limits)
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert plan.after.of(measure) <= fraction * plan.before.of(measure) * (1 + 1e-12)
    for group in plan.groups:
        assert group.after % limits["round_to"] == 0 or group.after == group.before
        assert group.after >= min(limits["min_channels"], group.before)
        assert group.size - len(group.keep) <= group.size * limits["max_sparsity"] + 1e-9
        best = sorted(range(group.size), key=lambda unit: (scores[_start(groups, group) + unit], unit))
        assert sorted(best[group.size - len(group.keep) :]) == list(group.keep)
    assert plan.after == Totals(plan.after.channels, *CostModel(mixed, groups).totals(plan.mask)[:2])


def _start(groups, plan):
    return next(group.start for group in groups if group.name == plan.name)


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(7)),
    fraction=st.floats(0.2, 0.99),
    measure=st.sampled_from(["flops", "params", "density"]),
)
def test_one_channel_fewer_would_miss_the_budget(hand, order, fraction, measure):
    class Drawn:
        def scores(self, model, groups, data=None):
            return np.argsort(order).astype(float)

    try:
        plan = plan_channels(hand, Drawn(), **{measure: fraction})
    except PruningError:
        return
    removed = [unit for unit in order if not plan.mask[unit]]
    more = plan.mask.copy()
    more[removed[-1]] = True
    a, b = more[:4].sum(), more[4:].sum()
    assert (more.sum() / 7 if measure == "density" else (a + a * b + 2 * b) / 22) > fraction


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), fraction=st.floats(0.5, 0.9))
def test_applying_a_plan_is_slimming_by_its_mask(mixed, seed, fraction):
    class Drawn:
        def scores(self, model, groups, data=None):
            return np.random.default_rng(seed).random(groups.channels)

    plan = plan_channels(mixed, Drawn(), flops=fraction)
    small, same = plan.apply(), slim(mixed, plan.mask)
    images = np.random.default_rng(seed).normal(size=(2, 6, 6, 2)).astype(np.float32)
    for mine, other in zip(small.variables, same.variables, strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(small(images), same(images))
    assert small.count_params() == plan.after.params


@pytest.mark.parametrize("density", [0.9, 1 - 0.1, 0.1, 1 - 0.9, 0.3, 1 - 0.7])
def test_fractions_of_channels_count_as_they_are_written(density):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(100), keras.layers.Dense(2)])
    assert plan_channels(model, "l2", density=density).after.channels == round(100 * density)


class Block(keras.layers.Layer):
    """A dense layer within a layer that has no rule."""

    def __init__(self, units, hidden=False, **arguments):
        super().__init__(**arguments)
        self.dense, self.hidden = layers.Dense(units, use_bias=False), hidden

    def build(self, shape):
        self.dense.build(shape)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.dense.units)

    def call(self, values):
        if self.hidden:  # from TensorFlow, and so from whoever counts
            values = tf.ensure_shape(tf.numpy_function(lambda each: each, [values], tf.float32), values.shape)
        return self.dense(values)


class Product(keras.layers.Layer):
    """A dense layer without a rule, of which no trial tells what it does: it is scaled by the mean of its inputs."""

    def __init__(self, units, **arguments):
        super().__init__(**arguments)
        self.units = units

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], self.units), name="matrix")

    def call(self, values):
        return keras.ops.matmul(values, self.matrix) * keras.ops.mean(values)


def with_block(units, hidden=False):
    """Costs 8 * 20 + 20 * 4 + 4 * 8 = 272 and, in the block, 8 * units; half of the first can go at most."""
    inputs = keras.Input((8,))
    x = layers.Dense(20, use_bias=False, name="a")(inputs)
    x = layers.Dense(4, use_bias=False, name="b")(x)
    x = layers.Dense(8, use_bias=False, name="c")(x)
    return keras.Model(inputs, [layers.Dense(1, use_bias=False, name="d")(x), Block(units, hidden, name="own")(inputs)])


def test_what_is_left_alone_counts_as_it_is():
    """Seven eighths of the FLOPs are in a block without a rule, so that no plan keeps half of all."""
    model = with_block(238)
    whole = 8 * 20 + 20 * 4 + 4 * 8 + 8
    plan = plan_channels(model, "l2", flops=0.95)
    assert plan.before.flops == whole + 8 * 238
    assert plan.uncounted == ()
    small = plan.apply()
    kept = [small.get_layer(name).units for name in "abc"]
    assert plan.after.flops == sum(a * b for a, b in itertools.pairwise([8, *kept, 1])) + 8 * 238
    with pytest.raises(PruningError, match=r"at least 1,915 of 2,184 FLOPs \(87\.7 %\) remain"):
        plan_channels(model, "l2", flops=0.5)


def test_flops_that_are_not_known_are_refused_by_name():
    model = with_block(238, hidden=True)
    message = (
        r"flops=0.5: about 87 % of the FLOPs of \w+ are not known, those of own \(Block\); .*params=.*allow_unknown=T"
    )
    for prune in (plan_channels, prune_channels):
        with pytest.raises(PruningError, match=message):
            prune(model, "l2", flops=0.5)
    assert prune_channels(model, "l2", flops=0.5, allow_unknown=True).get_layer("a").units < 20
    assert plan_channels(model, "l2", density=0.5).unknown == 8 * 238  # no promise about FLOPs
    plan = plan_channels(model, "l2", flops=0.5, allow_unknown=True)
    assert plan.after.flops <= 0.5 * 280
    assert (plan.uncounted, plan.unknown) == (("own",), 8 * 238)
    told = "without those of own, which are not known: about 87 % of the model's"
    assert str(plan).endswith(f", {told})")
    assert plan.explain(width=120).splitlines()[1] == f"  FLOPs are counted {told}"
    assert max(map(len, plan.explain().splitlines())) <= 80
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_few_unknown_flops_are_no_obstacle_but_are_told():
    plan = plan_channels(with_block(1, hidden=True), "l2", flops=0.5)
    assert (plan.uncounted, plan.unknown) == (("own",), 8)
    assert "about 2.8 % of the model's" in str(plan)


@pytest.mark.parametrize("measure", ["flops", "params", "density"])
def test_nothing_to_prune_is_an_error_for_every_target(measure):
    inputs = keras.Input((10, 12))
    outputs_only = keras.Model(inputs, layers.LSTM(16, return_sequences=True)(inputs))
    blocked = keras.Model(inputs, Product(5, name="own")(layers.Dense(9)(inputs)))
    for model, reason in ((outputs_only, "output"), (blocked, "it has no rule for removing them")):
        for prune in (plan_channels, prune_channels):
            with pytest.raises(
                PruningError, match=rf"{measure}=0.5 cannot be met: the model has no prunable.*{reason}"
            ):
                prune(model, "l1", **{measure: 0.5})
        assert plan_channels(model, "l1", **{measure: 1.0}).mask.size == 0  # all of it is kept, as asked


class Untold(Block):
    """A block whose rule does not say what it costs."""


def test_a_model_without_any_known_flops_has_no_fraction_of_them():
    def rule(labels, call):
        made = labels.make(call, call.layer.dense.units)
        labels.slot(call, "dense.kernel", -1, made, "out")
        labels.slot(call, "dense.kernel", -2, labels.of(call.inputs[0])[-1], "in")
        labels.put(call.outputs[0], (made,))

    register_rule(Untold, rule)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Untold(2, name="last")(Untold(8, name="first")(inputs)))
    with pytest.raises(PruningError, match=r"about 100 % of the FLOPs .*of first \(Untold\), last \(Untold\)"):
        plan_channels(model, "random", flops=0.5)
    with pytest.raises(PruningError, match=r"flops=0.5: \w+ has no FLOPs that are known; give params="):
        plan_channels(model, "random", flops=0.5, allow_unknown=True)
    assert plan_channels(model, "random", params=0.5).after.channels == 4


@pytest.mark.parametrize("kind", ["dense", "transformer"])
def test_models_that_keras_has_quantized_are_refused(kind):
    inputs = keras.Input((4, 8))
    x = keras.layers.LSTM(8, return_sequences=True)(inputs)
    if kind == "transformer":
        x = keras.layers.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
    plan = plan_channels(model, density=0.5)
    history = PruningHistory([plan])
    model.get_layer("head").quantize("int8")
    for use in (
        lambda: plan_channels(model, flops=0.5),
        lambda: prune_channels(model, flops=0.5),
        lambda: plan.apply(model),
        lambda: history.replay(model),
    ):
        with pytest.raises(UnsupportedLayerError, match="layers that Keras has quantized: head; prune, convert and"):
            use()


def test_the_message_on_limits_that_hold_everything_asks_for_no_other_target(make):
    with pytest.raises(PruningError, match=r"100.0 %\) remain.*\. Loosen what holds the channels"):
        plan_channels(make.hand_made(), density=0.5, min_channels=100)


@pytest.mark.parametrize("setting", ["ignore", "keep_width"])
def test_similar_names_of_layers_are_suggested(setting):
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(4, name="lstm1"), keras.layers.Dense(2)])
    with pytest.raises(UnsupportedLayerError, match=f"^{setting}: .* received 'lstm_1', .*; did you mean lstm1[?]"):
        plan_channels(model, density=0.5, **{setting: "lstm_1"})
    with pytest.raises(UnsupportedLayerError, match=r"^max_sparsity: .* received 'lstm_1', .*; did you mean lstm1[?]"):
        plan_channels(model, density=0.5, max_sparsity={"lstm_1": 0.5})
