"""Plans that drop residual blocks, alone and before channels."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tests.arguments import LATER, wrong_answers
from tests.models import residual_blocks_model
from tfprune.criteria import LossIncrease
from tfprune.errors import ConfigError, PruningError
from tfprune.graph import complexity, residual_blocks, slim
from tfprune.pruning import BlockPlan, DepthPlan, PruningHistory, PruningPlan, plan_channels, prune_channels

layers = keras.layers
RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(8, 6, 6, 3)).astype(np.float32)
CLASSES = RNG.integers(0, 2, 8)

# Of a model with blocks of widths w and inner widths v: 27 w + w in the stem, 9 w v + v and 9 w v + w in a block.
STEM, BLOCK, HEAD = 3 * 9 * 6 + 6, 9 * 6 * 8 + 8 + 9 * 6 * 8 + 6, 6 * 2 + 2
FLOPS = {"stem": 36 * 27 * 6, "block": 36 * 2 * 9 * 6 * 8, "head": 12}


class Fixed:
    """A criterion for blocks with known scores."""

    name, uses_data = "fixed", "never"

    def __init__(self, *scores):
        self.values = scores

    def scores(self, model, blocks, data=None):
        return np.array(self.values)


@pytest.fixture(scope="module")
def model():
    """Four blocks, to be left as they are."""
    model = residual_blocks_model(4, activation="relu", name="net")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def plan(model):
    return plan_channels(model, depth=0.5, depth_criterion=Fixed(3.0, 0.5, 1.0, 2.0))


def zeroed(model, *names):
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    for name in names:
        for weight in new.get_layer(name).weights:
            weight.assign(ops.zeros_like(weight))
    return new


def equal(one, other):
    for a, b in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_blocks_of_the_lowest_scores_are_dropped(plan, model):
    assert plan.dropped == ("add1", "add2")
    assert plan.budget is None
    assert [(block.name, block.score, block.keep) for block in plan.depth.blocks] == [
        ("add0", 3.0, True),
        ("add1", 0.5, False),
        ("add2", 1.0, False),
        ("add3", 2.0, True),
    ]
    small = plan.apply()
    np.testing.assert_allclose(small(IMAGES), zeroed(model, "conv1b", "conv2b")(IMAGES), rtol=1e-5, atol=1e-6)
    assert small.get_layer("conv3a").kernel is not model.get_layer("conv3a").kernel
    assert [block.name for block in residual_blocks(model)] == ["add0", "add1", "add2", "add3"]


def test_totals_are_those_of_the_whole_model_and_of_the_result(plan):
    assert (plan.before.params, plan.after.params) == (STEM + 4 * BLOCK + HEAD, STEM + 2 * BLOCK + HEAD)
    assert plan.before.flops == FLOPS["stem"] + 4 * FLOPS["block"] + FLOPS["head"]
    assert plan.after.flops == FLOPS["stem"] + 2 * FLOPS["block"] + FLOPS["head"]
    assert (plan.before.channels, plan.after.channels) == (6 + 4 * 8, 6 + 2 * 8)
    small = plan.apply()
    assert (small.count_params(), complexity(small).flops) == (plan.after.params, plan.after.flops)


@pytest.mark.parametrize(
    ("depth", "dropped"), [(1.0, 0), (0.76, 0), (0.75, 1), (0.51, 1), (0.5, 2), (0.26, 2), (0.25, 3), (0.001, 3)]
)
def test_the_number_that_stays_is_rounded_up(model, depth, dropped):
    plan = plan_channels(model, depth=depth, depth_criterion=Fixed(1.0, 1.0, 1.0, 0.0))
    order = ("add3", "add0", "add1")  # equal scores: the first goes first
    assert set(plan.dropped) == set(order[:dropped])
    assert plan.apply() is not model


def test_blocks_and_channels_under_one_budget(model):
    scores = Fixed(3.0, 0.5, 1.0, 2.0)
    plan = plan_channels(model, "l2", depth=0.5, depth_criterion=scores, flops=0.3)
    assert plan.dropped == ("add1", "add2")
    assert plan.after.flops <= 0.3 * plan.before.flops
    assert plan.before.flops == FLOPS["stem"] + 4 * FLOPS["block"] + FLOPS["head"]
    small = plan.apply()
    assert (small.count_params(), complexity(small).flops) == (plan.after.params, plan.after.flops)
    # the same channels go as from the model without the blocks, at the same number of FLOPs
    rest = plan_channels(model, depth=0.5, depth_criterion=scores).apply()
    of_rest = complexity(rest).flops
    alone = plan_channels(rest, "l2", flops=0.3 * plan.before.flops / of_rest)
    assert plan.keep == alone.keep
    equal(small, alone.apply())
    masked = slim(rest, plan.mask)
    np.testing.assert_allclose(small(IMAGES), masked(IMAGES), rtol=1e-5, atol=1e-6)


def test_a_budget_that_the_blocks_meet_takes_no_channels(model):
    plan = plan_channels(model, "l2", depth=0.25, depth_criterion="l1", params=0.6)
    assert all(len(group.keep) == group.size for group in plan.groups)
    assert "% of the parameters stay unused: the residual blocks that are dropped are enough" in plan.explain(width=120)
    assert plan.apply().count_params() == STEM + BLOCK + HEAD == plan.after.params


def test_a_model_without_channels_can_meet_a_budget_by_blocks():
    inputs = x = keras.Input((4,))
    for number in range(3):
        x = layers.Add(name=f"add{number}")([x, layers.Dense(4, use_bias=False, name=f"dense{number}")(x)])
    model = keras.Model(inputs, x)
    plan = plan_channels(model, depth=0.5, depth_criterion="l1", params=0.7)
    assert (plan.before.params, plan.after.params, len(plan.dropped)) == (48, 32, 1)
    with pytest.raises(PruningError, match=r"params=0.5 cannot be met: the model has no prunable channels"):
        plan_channels(model, depth=0.5, depth_criterion="l1", params=0.5)
    with pytest.raises(PruningError, match=r"density=0.5 cannot be met: the model has no prunable channels"):
        plan_channels(model, depth=0.5, depth_criterion="l1", density=0.5)


def test_a_block_may_have_held_channels():
    """Channels around a layer that is left alone become free where it is dropped: then there are more than before."""
    inputs = keras.Input((5,))
    x = layers.Dense(4, name="before")(inputs)
    x = Square(name="block")(x)
    x = layers.Add(name="add")([x, layers.Dense(4, name="branch")(x)])
    model = keras.Model(inputs, layers.Dense(3)(x))
    assert [block.name for block in residual_blocks(model)] == ["block", "add"]
    plan = plan_channels(model, "l2", depth=0.5, depth_criterion=Fixed(0.0, 1.0), params=0.5)
    assert plan.after.channels > plan.before.channels == 0
    assert plan.apply().count_params() == plan.after.params <= 0.5 * model.count_params()


@keras.saving.register_keras_serializable("tests")
class Square(keras.layers.Layer):
    """Adds a product with a square matrix, sorted, so that all channels are needed."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, inputs):
        return inputs + ops.sort(ops.matmul(inputs, self.kernel), axis=-1)


@pytest.mark.parametrize(("setting", "reason"), [("ignore", "ignored"), ("keep_width", "keep_width")])
def test_layers_that_a_user_wants_to_keep_hold_their_blocks(model, setting, reason):
    scores = Fixed(3.0, 0.5, 1.0, 2.0)
    plan = plan_channels(model, depth=0.5, depth_criterion=scores, **{setting: ["conv1?", model.get_layer("conv0a")]})
    assert plan.dropped == ("add2", "add3")
    assert [block.held for block in plan.depth.blocks] == [reason, reason, "", ""]
    assert f"{'ignored as asked' if reason == 'ignored' else 'its width is kept as asked'}\n" in plan.explain()
    with pytest.raises(PruningError, match=r"depth=0.25 cannot be met: 2 of 4 .*; ask for depth=0.5 or more"):
        plan_channels(model, depth=0.25, depth_criterion=scores, **{setting: ["conv1a", "conv0a"]})


def test_limits_of_layers_that_are_dropped(model):
    """They are checked against the whole model, and have no effect."""
    scores = Fixed(3.0, 0.5, 1.0, 2.0)
    settings = {"depth": 0.5, "depth_criterion": scores, "density": 0.4}
    plan = plan_channels(model, "l2", max_sparsity={"conv1a": 0.1, "*": 0.9}, **settings)
    assert plan.keep == plan_channels(model, "l2", max_sparsity=0.9, **settings).keep
    with pytest.raises(Exception, match="max_sparsity: expected names or patterns"):
        plan_channels(model, "l2", max_sparsity={"conv9a": 0.1, "*": 0.9}, **settings)


def test_the_text_of_a_plan(plan, model):
    assert plan.explain() == (
        "Plan for net: keep at least 50 % of its residual blocks\n"
        "  residual blocks ranked by fixed, dropped first\n"
        "\n"
        "  block  score\n"
        "  add0       3  stays\n"
        "  add1     0.5  dropped\n"
        "  add2       1  dropped\n"
        "  add3       2  stays\n"
        "\n"
        "               before       after     kept\n"
        "  channels         38  ->      22  57.89 %\n"
        "  parameters    3,694  ->   1,938  52.46 %\n"
        "  FLOPs       130,260  ->  68,052  52.24 %"
    )
    assert str(plan) == (
        "PruningPlan(net: 2 of 4 residual blocks are dropped, 0 of 3 groups get smaller, channels 38 -> 22, "
        "parameters 3.69 k -> 1.94 k, FLOPs 130 k -> 68.1 k)"
    )
    both = plan_channels(model, "l2", depth=0.75, depth_criterion="l1", flops=0.4)
    assert both.explain().startswith(
        "Plan for net: keep at least 75 % of its residual blocks and at most 40 % of its\nFLOPs\n"
        "  residual blocks ranked by l1, dropped first\n  channels ranked by l2, compared over the whole model\n"
    )


def test_files(plan, model, tmp_path):
    plan.save(tmp_path / "plan.json")
    again = PruningPlan.load(tmp_path / "plan.json")
    assert again == plan
    assert again.explain() == plan.explain()
    equal(again.apply(model), plan.apply())
    lines = [line.strip() for line in plan.to_json().splitlines()]
    assert '{"name": "add1", "score": 0.5, "keep": false, "held": ""},' in lines


def test_plans_from_before_there_were_blocks_load(hand, make):
    plan = plan_channels(hand, make.fixed(), flops=0.5)
    content = json.loads(plan.to_json())
    assert content.pop("depth") is None
    assert PruningPlan.from_json(json.dumps(content)) == plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda depth: depth.update(fraction=0.0), "depth.fraction: expected a number above 0"),
        (lambda depth: depth.update(fraction=0.75), "depth.blocks: expected at least 3 of 4 that stay, received 2"),
        (lambda depth: depth["blocks"][0].update(name="add1"), "depth.blocks: .* received 'add1' twice"),
        (lambda depth: depth["blocks"][1].update(held="ignored"), r"depth.blocks\[1\].held: expected none"),
        (lambda depth: depth["blocks"][0].update(held="luck"), r"depth.blocks\[0\].held: expected none, .* 'luck'"),
        (lambda depth: depth["blocks"][0].update(keep=1), r"depth.blocks\[0\].keep: expected bool, got int"),
        (lambda depth: depth["blocks"][0].update(score="1"), r"depth.blocks\[0\].score: expected float, got str"),
        (lambda depth: depth.pop("criterion"), "depth: object missing required field criterion"),
    ],
)
def test_damaged_files(plan, change, message):
    content = json.loads(plan.to_json())
    change(content["depth"])
    with pytest.raises(PruningError, match=message):
        PruningPlan.from_json(json.dumps(content))


def test_a_plan_that_drops_other_blocks_does_not_fit_its_numbers(plan, model):
    """The blocks are alike, so only one of another number is told by the numbers."""
    content = json.loads(plan.to_json())
    content["depth"]["blocks"][1]["keep"] = True
    with pytest.raises(PruningError, match="does not fit net"):
        PruningPlan.from_json(json.dumps(content)).apply(model)


def test_models_of_other_blocks_are_refused(plan):
    with pytest.raises(PruningError, match=r"a model of 4 residual blocks \(.*\) and does not fit other, which has 3"):
        plan.apply(residual_blocks_model(3, activation="relu", name="other"))
    with pytest.raises(PruningError, match="does not fit wide: "):
        plan.apply(residual_blocks_model(4, width=7, activation="relu", name="wide"))


def test_blocks_of_other_names_are_matched_by_position(plan, model):
    other = residual_blocks_model(4, activation="relu", seed=1)
    renamed = keras.models.clone_model(other, clone_function=renamed_layer)
    renamed.set_weights(other.get_weights())
    with pytest.raises(PruningError, match='match="position"'):
        plan.apply(renamed)
    equal(plan.apply(renamed, match="position"), plan.apply(other))


def renamed_layer(layer):
    return type(layer).from_config(layer.get_config() | {"name": f"other_{layer.name}"})


@pytest.mark.parametrize("steps", [1, 2])
def test_steps_and_their_history(model, tmp_path, steps):
    settings = {"depth": 0.5, "depth_criterion": "loss", "flops": 0.3, "data": (IMAGES, CLASSES)}
    history, seen = PruningHistory(), []

    def between(small, step):
        seen.append([block.name for block in residual_blocks(small)])

    small = prune_channels(model, "l2", steps=steps, between=between, history=history, **settings)
    order = np.argsort(LossIncrease().scores(model, residual_blocks(model), (IMAGES, CLASSES)))
    dropped = tuple(f"add{index}" for index in sorted(order[:2]))
    assert [plan.dropped for plan in history.plans] == [dropped] * steps
    assert all(len(names) == 2 for names in seen)
    assert len(seen) == steps - 1
    equal(history.replay(model), small)
    history.save(tmp_path / "steps.json")
    again = PruningHistory.load(tmp_path / "steps.json")
    assert again.plans == history.plans
    equal(again.replay(model, recalibrate=IMAGES), small)
    assert [group.name for group in again.check(model)] == [group.name for group in history.plans[0].groups]


def test_depth_alone_in_one_call(model):
    small = prune_channels(model, depth=0.5, depth_criterion="l1")
    equal(small, plan_channels(model, depth=0.5, depth_criterion="l1").apply())
    with pytest.raises(ConfigError, match=r"steps: expected 1 with depth as the only target, .* received 2"):
        prune_channels(model, depth=0.5, depth_criterion="l1", steps=2)


def test_steps_that_drop_different_blocks_are_refused(plan, model):
    other = plan_channels(model, depth=0.5, depth_criterion=Fixed(0.0, 0.5, 1.0, 2.0))
    with pytest.raises(PruningError, match="step 2 drops other residual blocks than the first"):
        PruningHistory([plan, other]).replay(model)


@pytest.mark.parametrize("widths", [{}, {"flops": 0.3}])
def test_the_state_of_the_optimizer_goes_along(widths):
    model = residual_blocks_model(3)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(IMAGES, CLASSES, verbose=0, epochs=2)
    plan = plan_channels(model, depth=0.5, depth_criterion=Fixed(2.0, 0.0, 1.0), **widths)
    assert plan.dropped == ("add1",)
    small = plan.apply(keep_optimizer=True)
    old = {variable.path: variable for variable in model.optimizer.variables}
    new = {variable.path: variable for variable in small.optimizer.variables}
    assert set(new) == {path for path in old if "conv1" not in path}
    assert int(small.optimizer.iterations) == 2
    for path, variable in new.items():
        if variable.shape == old[path].shape:
            np.testing.assert_array_equal(variable, old[path], err_msg=path)
    (moment,) = (path for path in new if "conv2a" in path and "kernel" in path and "velocity" in path)
    stays = {group.name: list(group.keep) for group in plan.groups}
    expected = np.asarray(old[moment])[:, :, stays["stem"]][..., stays["conv2a"]]
    np.testing.assert_array_equal(new[moment], expected)
    small.fit(IMAGES, CLASSES, verbose=0)
    with pytest.raises(PruningError, match="keep_optimizer: expected a compiled model"):
        plan.apply(residual_blocks_model(3), keep_optimizer=True)


def test_data_go_to_the_criteria_that_use_them(model):
    both = plan_channels(model, "taylor", depth=0.5, depth_criterion="cosine", density=0.4, data=(IMAGES, CLASSES))
    assert both.criterion == "taylor"
    one = plan_channels(model, "l2", depth=0.5, depth_criterion="cosine", density=0.4, data=IMAGES)
    other = plan_channels(model, "taylor", depth=0.5, depth_criterion="l1", density=0.4, data=(IMAGES, CLASSES))
    assert (one.depth.criterion, other.depth.criterion) == ("cosine", "l1")
    assert one.depth.blocks == both.depth.blocks
    for criterion, settings in (("l2", {"depth_criterion": "l1", "density": 0.4}), ("l2", {"depth_criterion": "l1"})):
        with pytest.raises(ConfigError, match="data: expected none for criterion"):
            plan_channels(model, criterion, depth=0.5, data=IMAGES, **settings)


def test_mistakes(model):
    for depth in (0, -0.5, 1.5, "half", True, np.nan):
        with pytest.raises(ConfigError, match="depth: expected a number above 0 and at most 1"):
            plan_channels(model, depth=depth, data=IMAGES)
    with pytest.raises(ConfigError, match=r"criterion cosine looks at data: .*, received none"):
        plan_channels(model, depth=0.5)
    for setting in ({"round_to": 2}, {"criterion": "l1"}, {"scope": "local"}, {"max_sparsity": {"conv0a": 0.5}}):
        (name,) = setting
        with pytest.raises(
            ConfigError, match=f"{name}: expected none, as it is for channels and depth=0.5 is the only"
        ):
            plan_channels(model, depth=0.5, data=IMAGES, **setting)
    with pytest.raises(ConfigError, match="expected exactly one of flops, params and density"):
        plan_channels(model, depth=0.5, data=IMAGES, flops=0.5, params=0.5)
    for scores in ((1.0, 2.0), (1.0, 2.0, np.nan, 3.0)):
        with pytest.raises(ConfigError, match="criterion fixed: expected one finite score per residual block"):
            plan_channels(model, depth=0.5, depth_criterion=Fixed(*scores))
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)], name="plain")
    with pytest.raises(PruningError, match=r"a model with residual blocks .*, plain has none; leave depth out"):
        plan_channels(plain, depth=0.5, depth_criterion="l1")


@pytest.mark.parametrize("function", [plan_channels, prune_channels])
def test_wrong_values_are_answered_in_one_line(model, function, tmp_path):
    kept = {"model", "criterion", "scope", "round_to", "min_channels", "max_sparsity", "allow_unknown"}
    kept |= {"steps", "schedule", "keep_optimizer", "history"} | LATER
    given = {"model": model, "depth": 0.5, "depth_criterion": "l1"}
    assert list(wrong_answers(function, given, tmp_path, kept)) == []


def test_a_criterion_without_depth_is_refused(model):
    with pytest.raises(ConfigError, match="depth_criterion: expected none without depth, received 'loss'"):
        plan_channels(model, depth_criterion="loss", flops=0.5)


def test_plans_of_ones_own_are_checked():
    with pytest.raises(PruningError, match="expected at least 1 of 1 that stay, received 0"):
        DepthPlan(0.5, "l1", (BlockPlan("a", 1.0, False),))
