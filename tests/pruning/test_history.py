import json

import keras
import numpy as np
import pytest

from tests.models import conv_chain
from tfprune.errors import ConfigError, PruningError
from tfprune.pruning import PruningHistory, PruningPlan, ReweightingWarning, plan_channels, prune_channels

layers = keras.layers
X = np.random.default_rng(0).normal(size=(40, 6, 6, 2)).astype(np.float32)


def equal(first, second):
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def trained(model, step):
    """Stands in for training: changes all kernels, differently at each step, without any chance."""
    for index, variable in enumerate(model.trainable_variables):
        variable.assign(np.asarray(variable) * (1 + 0.1 * ((index + step) % 3)))


@pytest.mark.parametrize(
    "settings", [{}, {"between": trained}, {"reweight": X, "recalibrate": X}], ids=["plain", "trained", "fitted"]
)
def test_replayed_steps_are_the_same_bit_for_bit(tmp_path, settings):
    model = conv_chain((6, 6, 2), (8, 12), 3, seed=0)
    history = PruningHistory()
    small = prune_channels(model, "l2", flops=0.4, steps=3, round_to=2, history=history, **settings)
    assert len(history.plans) == 3
    assert [plan.budget.fraction for plan in history.plans] == pytest.approx([0.8, 0.6, 0.4])
    equal(history.replay(model, **settings), small)
    history.save(tmp_path / "steps.json")
    again = PruningHistory.load(tmp_path / "steps.json")
    assert again.plans == history.plans
    equal(again.replay(model, **settings), small)


def test_on_other_weights_and_names_the_same_channels_go():
    first, second = (
        keras.Sequential([keras.Input((5,)), layers.Dense(9), layers.Dense(8), layers.Dense(2)]) for _ in "ab"
    )
    history = PruningHistory()
    prune_channels(first, "l2", density=0.5, steps=2, history=history)
    small = history.replay(second, match="position")
    equal(small, history.plans[-1].apply(second, match="position"))
    with pytest.raises(PruningError, match="does not fit"):
        history.replay(second)


def test_the_last_plan_is_that_of_the_pruned_model(hand, make):
    history = PruningHistory()
    small = prune_channels(hand, make.fixed(), flops=0.5, history=history)
    (plan,) = history.plans
    assert plan == plan_channels(hand, make.fixed(), flops=0.5)
    equal(small, plan.apply(hand))


def test_what_cannot_be_replayed_is_refused(hand, make, tmp_path):
    with pytest.raises(PruningError, match="the history has no steps"):
        PruningHistory().replay(hand)
    used = PruningHistory([plan_channels(hand, make.fixed(), flops=0.5)])
    with pytest.raises(ConfigError, match="history: expected an empty one, received one of 1 steps"):
        prune_channels(hand, make.fixed(), flops=0.5, history=used)
    with pytest.raises(PruningError, match=r"cannot read .*missing.json: No such file"):
        PruningHistory.load(tmp_path / "missing.json")
    path = tmp_path / "other.json"
    for text, message in (
        ("[1]", "format: expected 'tfprune pruning plan 2', got None"),
        ("{", "it is no JSON: line 1, column 2"),
        ("[" * 100_000, "it is nested more than 100 levels deep"),
        (json.dumps({"format": "tfprune pruning history 1", "plans": [{}]}), r"plans\[0\].format: expected"),
        (json.dumps({"format": "tfprune pruning history 1", "plans": []}), "plans: expected array of length >= 1"),
        (json.dumps({"format": "tfprune pruning history 1", "plans": 1}), "plans: expected array, got int"),
        (json.dumps({"format": "tfprune pruning history 1"}), "object missing required field plans"),
    ):
        path.write_text(text)
        with pytest.raises(PruningError, match=f"other.json: expected a pruning plan, {message}"):
            PruningHistory.load(path)
    used.plans[0].save(path)
    assert PruningHistory.load(path).plans == used.plans  # a plan is a history of one step
    with pytest.raises(PruningError, match="cannot write the history"):
        used.save(path / "folder.json")


def test_the_step_whose_plan_is_damaged_is_named(tmp_path, hand, make):
    history = PruningHistory()
    prune_channels(hand, make.kernels(), density=0.5, steps=2, history=history)
    history.save(tmp_path / "steps.json")
    content = json.loads((tmp_path / "steps.json").read_text())
    content["plans"][1]["groups"][0]["keep"] = [1, 0]
    (tmp_path / "steps.json").write_text(json.dumps(content))
    with pytest.raises(PruningError, match=r"plans\[1\].groups\[0\].keep: expected for a at least one of"):
        PruningHistory.load(tmp_path / "steps.json")


def test_steps_in_another_order_are_refused(hand, make):
    history = PruningHistory()
    prune_channels(hand, make.kernels(), density=0.5, steps=2, history=history)
    with pytest.raises(
        PruningError, match="step 2 keeps channels that a step before removed; record the history again"
    ):
        PruningHistory(history.plans[::-1]).replay(hand)


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (5, r"between: expected a function between\(model, step\), received 5 \(int\)"),
        (lambda model: None, r"expected a function between\(model, step\), received <lambda>\(model\)"),
        (lambda model, step, more: None, r"received <lambda>\(model, step, more\)"),
    ],
)
def test_between_is_checked_before_any_work(between, message):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    unused = lambda model, groups, data: pytest.fail("it scores")  # noqa: E731
    criterion = type("Unused", (), {"scores": staticmethod(unused)})()
    with pytest.raises(ConfigError, match=message):
        prune_channels(model, criterion, density=0.5, steps=2, between=between)
    with pytest.raises(ConfigError, match=message):
        PruningHistory([plan_channels(model, density=0.5)]).replay(model, between=between)


def test_a_history_of_another_type_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    with pytest.raises(ConfigError, match=r"history: expected a PruningHistory, received \[\] \(list\)"):
        prune_channels(model, density=0.5, history=[])


def test_a_history_is_shown_in_a_line():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2)], name="net")
    history = PruningHistory()
    assert repr(history) == "PruningHistory(0 steps)"
    prune_channels(model, density=0.5, steps=2, history=history)
    assert str(history) == f"PruningHistory(2 steps, {history.plans[1]})"


def test_files_of_plans_and_of_histories_name_the_right_way_to_read_them(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    PruningHistory([plan_channels(model, density=0.5)]).save(tmp_path / "steps.json")
    with pytest.raises(PruningError, match=r"steps.json: .* several steps; read it by PruningHistory.load"):
        PruningPlan.load(tmp_path / "steps.json")
    for kind in (PruningPlan, PruningHistory):
        with pytest.raises(PruningError, match=r"cannot read .*none.json: No such file"):
            kind.load(tmp_path / "none.json")


def test_warnings_on_layers_that_are_not_reweighted_name_the_line_of_the_user():
    inputs = keras.Input((4, 3))
    x = keras.layers.LSTM(4, return_sequences=True)(inputs)
    model = keras.Model(inputs, keras.layers.LSTM(4, name="reader")(x))
    data = np.random.default_rng(0).random((8, 4, 3), np.float32)
    plan = plan_channels(model, density=0.5)
    for use in (
        lambda: plan.apply(reweight=data),
        lambda: prune_channels(model, density=0.5, reweight=data),
        lambda: PruningHistory([plan]).replay(model, reweight=data),
    ):
        with pytest.warns(ReweightingWarning, match="not reweighted: .*reader") as caught:
            use()
        assert {each.filename for each in caught} == {__file__}
