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
        (lambda content: content.update(format="1"), "format: expected 'tfprune pruning plan 2', got '1'"),
        (lambda content: content["groups"][0].update(keep=[]), "expected for a at least one of the channels 0 to 3"),
        (lambda content: content["groups"][0].update(keep=[0, 4]), r"received \[0, 4\]"),
        (lambda content: content["groups"][0].update(keep=[2, 1]), r"groups\[0\].keep: .* ascending"),
        (lambda content: content["groups"][0].update(keep=[1, 1]), "ascending"),
        (lambda content: content["groups"][0].update(keep=["x"]), r"groups\[0\].keep\[0\]: expected int, got str"),
        (lambda content: content["groups"][0].update(keep=[True]), r"groups\[0\].keep\[0\]: expected int, got bool"),
        (lambda content: content["groups"][0].update(keep=3), r"groups\[0\].keep: expected array, got int"),
        (lambda content: content["groups"][0].update(size=4.0), r"groups\[0\].size: expected int, got float"),
        (lambda content: content["groups"][0].update(size=0), r"groups\[0\].size: expected int >= 1"),
        (lambda content: content["groups"][0].update(size=10**30), r"groups\[0\].size: "),
        (lambda content: content["groups"][0].update(after=5), r"groups\[0\].after: expected at most 4"),
        (lambda content: content["groups"][0].pop("size"), r"groups\[0\]: object missing required field size"),
        (
            lambda content: content["groups"][0].update(sizes=1),
            r"groups\[0\]: expected the members .* got 'sizes', too",
        ),
        (lambda content: content["groups"][1].update(name="a"), "groups: .* different names, received 'a' twice"),
        (
            lambda content: content["groups"][0].update(bound=[{"reason": "luck", "channels": 1}]),
            r"groups\[0\].bound\[0\].reason: expected ignored, .*, received 'luck'",
        ),
        (
            lambda content: content["groups"][0].update(protected=[{"reason": "ignored", "channels": 5}]),
            r"groups\[0\].protected\[0\].channels: expected at most 4",
        ),
        (lambda content: content.pop("groups"), "object missing required field groups"),
        (lambda content: content.update(scope="galaxy"), "scope: invalid enum value 'galaxy'"),
        (lambda content: content.update(criterion=""), "criterion: expected str of length >= 1"),
        (lambda content: content.update(criterion=None), "criterion: expected str, got null"),
        (lambda content: content.update(model=7), "model: expected str, got int"),
        (lambda content: content["budget"].update(fraction=2), "budget.flops: expected the fraction"),
        (lambda content: content["budget"].update(measure="luck"), "budget.measure: invalid enum value 'luck'"),
        (lambda content: content["constraints"].update(round_to=0), "constraints.round_to: expected a whole number"),
        (lambda content: content["before"].update(params=-1), "before.params: expected int >= 0"),
        (lambda content: content["after"].update(params=23), "after.params: expected at most 22, .* received 23"),
        (lambda content: content["after"].update(flops=12), "after: expected totals within the budget flops=0.5"),
        (lambda content: content.update(surprise=1), "expected the members after, .*, got 'surprise', too"),
    ],
)
def test_damaged_plans_are_refused(plan, change, message):
    content = json.loads(plan.to_json())
    change(content)
    with pytest.raises(PruningError, match=message) as caught:
        PruningPlan.from_json(json.dumps(content))
    assert str(caught.value).startswith("cannot read the text: expected a pruning plan, ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["before"].update(params=21), "before.params: expected 22, received 21"),
        (lambda content: content["after"].update(params=7), "after.params: expected 8, received 7"),
        (lambda content: content["before"].update(channels=8), "before.channels: expected 7, received 8"),
        (lambda content: content["after"].update(channels=3), "after.channels: expected 4, received 3"),
        (
            lambda content: content["groups"][0].update(keep=[0, 2]),
            "expected 3, received 4.* was it edited",
        ),
        (lambda content: content["groups"][0].update(before=5), r"groups\[0\].before: expected 4, received 5"),
        (lambda content: content["groups"][0].update(after=2), r"groups\[0\].after: expected 3, received 2"),
        (
            lambda content: content["groups"][0].update(layers=["b"]),
            "the group a of 4 channels, produced by b, received",
        ),
        (lambda content: content["groups"][0].update(layers=["a", "b"]), "produced by a, b, received"),
        (lambda content: content["groups"][1].update(name="x"), "expected the group x .*, received no group x"),
        (lambda content: content["groups"].reverse(), "expected the groups in the order b, a, received .* a, b"),
    ],
)
def test_a_plan_whose_numbers_are_of_another_model_is_not_carried_out(plan, change, message, make):
    content = json.loads(plan.to_json())
    change(content)
    loaded = PruningPlan.from_json(json.dumps(content))
    with pytest.raises(PruningError, match=f"does not fit hand_made: .*{message}"):
        loaded.apply(make.hand_made())


def test_files_that_hold_no_plan_are_refused(plan, tmp_path):
    with pytest.raises(PruningError, match=r"cannot read .*missing\.json: No such file or directory; check the path"):
        PruningPlan.load(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(PruningError, match=r"other.json: expected a pruning plan, format: expected .*, got None"):
        PruningPlan.load(tmp_path / "other.json")
    (tmp_path / "half.json").write_text(plan.to_json()[:50])
    with pytest.raises(PruningError, match=r"half.json: expected a pruning plan, it is no JSON: line"):
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
