import dataclasses
import json

import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError, PruningError
from tfprune.pruning import PruningPlan, plan_channels

layers = keras.layers


@pytest.fixture
def plan(hand, make):
    return plan_channels(hand, make.fixed(), flops=0.5)


def test_apply_cuts_the_weights_and_leaves_the_model_as_it_was(by_hand, make):
    weights = [variable.numpy() for variable in by_hand.variables]
    config = by_hand.get_config()
    plan = plan_channels(by_hand, make.fixed(), flops=0.5)
    small = plan.apply()
    a, b, out = weights
    for variable, expected in zip(small.variables, (a[:, [0, 2, 3]], b[[0, 2, 3]][:, [1]], out[[1]]), strict=True):
        np.testing.assert_array_equal(variable, expected)
    assert [layer.name for layer in small.layers[1:]] == ["a", "b", "out"]
    assert by_hand.get_config() == config
    for variable, before in zip(by_hand.variables, weights, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_apply_to_other_weights(plan, make):
    other = make.hand_made()
    other.get_layer("a").kernel.assign([[10.0, 11, 12, 13]])
    assert np.asarray(plan.apply(other).get_layer("a").kernel).tolist() == [[10, 12, 13]]


def test_a_plan_is_frozen(plan):
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.scope = "local"


def test_json_and_files_hold_the_whole_plan(plan, tmp_path, make):
    again = PruningPlan.from_json(plan.to_json())
    assert again == plan
    assert again.explain() == plan.explain()
    assert again.source is None
    plan.save(tmp_path / "plan.json")
    loaded = PruningPlan.load(str(tmp_path / "plan.json"))
    assert loaded == plan
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert loaded.apply(make.hand_made()).get_layer("a").units == 3


def test_a_loaded_plan_needs_a_model(plan):
    with pytest.raises(PruningError, match=r"give it: plan.apply\(model\)"):
        PruningPlan.from_json(plan.to_json()).apply()


def test_a_plan_that_does_not_fit_is_refused(plan, make, mixed):
    with pytest.raises(PruningError, match=r"made for hand_made and does not fit residual: expected .* received no gr"):
        plan.apply(mixed)
    small = plan.apply()
    message = "expected the group a of 4 channels, produced by a, received the group a of 3 channels, produced by a"
    with pytest.raises(PruningError, match=message):
        plan.apply(small)
    inputs = keras.Input((1,))
    x = layers.Dense(4, use_bias=False, name="a")(inputs)
    x = layers.Dense(3, use_bias=False, name="b")(x)
    deeper = keras.Model(inputs, layers.Dense(1)(layers.Dense(9, name="new")(x)))
    with pytest.raises(PruningError, match=r"expected no group new, received the group new of 9 channels"):
        plan.apply(deeper)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format="1"), "expected a file of the format 'tfprune pruning plan 2'"),
        (lambda content: content["groups"][0].update(keep=[]), "expected for a at least one of the channels 0 to 3"),
        (lambda content: content["groups"][0].update(keep=[0, 4]), r"received \[0, 4\]"),
        (lambda content: content["groups"][0].update(keep=[2, 1]), "ascending"),
        (lambda content: content["groups"][0].update(keep=["x"]), "damaged"),
        (lambda content: content["groups"][0].pop("size"), "damaged: TypeError"),
        (lambda content: content.pop("groups"), "damaged: KeyError"),
        (lambda content: content["budget"].update(fraction=2), "flops: expected the fraction"),
        (lambda content: content.update(surprise=1), "damaged"),
    ],
)
def test_damaged_plans_are_refused(plan, change, message):
    content = json.loads(plan.to_json())
    change(content)
    with pytest.raises(PruningError, match=message):
        PruningPlan.from_json(json.dumps(content))


def test_files_that_hold_no_plan_are_refused(plan, tmp_path):
    with pytest.raises(PruningError, match=r"cannot read the plan .*missing\.json"):
        PruningPlan.load(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(PruningError, match=r"other.json: no pruning plan"):
        PruningPlan.load(tmp_path / "other.json")
    (tmp_path / "half.json").write_text(plan.to_json()[:50])
    with pytest.raises(PruningError, match=r"half.json: no pruning plan, it is damaged"):
        PruningPlan.load(tmp_path / "half.json")
    with pytest.raises(PruningError, match=r"cannot write the plan .*half.json/folder.json: "):
        plan.save(tmp_path / "half.json" / "folder.json")
    plan.save(tmp_path / "no" / "folder.json")
    assert PruningPlan.load(tmp_path / "no" / "folder.json") == plan


def test_mask_is_over_all_channels(plan):
    assert plan.mask.tolist() == [True, False, True, True, False, True, False]


def test_sequential_models_stay_sequential(make):
    model = keras.Sequential([keras.Input((4, 4, 2)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(3)])
    small = plan_channels(model, make.kernels(), flops=0.5).apply()
    assert isinstance(small, keras.Sequential)
    assert small.layers[0].filters == 4
    assert small(np.zeros((1, 4, 4, 2), np.float32)).shape == (1, 3)


def named_by_keras(widths=(4, 3, 2)):
    """The hand-made model with Keras' automatic names, which differ from one model to the next."""
    inputs = x = keras.Input((1,))
    for width in widths:
        x = layers.Dense(width, use_bias=False)(x)
    return keras.Model(inputs, x)


def test_a_plan_for_other_names_is_matched_by_position_on_request(plan, make):
    other = named_by_keras()
    for weight, source in zip(other.weights, plan.source.weights, strict=True):
        weight.assign(source)
    small = plan.apply(other, match="position")
    for mine, expected in zip(small.weights, plan.apply().weights, strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert [layer.name for layer in small.layers] == [layer.name for layer in other.layers]
    assert plan.apply(match="position").get_layer("a").units == 3  # names may agree
    with pytest.raises(PruningError, match=r'received no group a; .*, or, .* apply\(model, match="position"\)'):
        plan.apply(other)
    for widths in ((4, 3, 5), (4, 2, 2), (3, 4, 2), (4, 3, 3, 2)):  # the first differs in its parameters only
        with pytest.raises(PruningError, match="does not fit") as error:
            plan.apply(named_by_keras(widths), match="position")
        assert "match=" not in str(error.value)
    with pytest.raises(ConfigError, match="match: expected name or position, received 'order'"):
        plan.apply(other, match="order")
