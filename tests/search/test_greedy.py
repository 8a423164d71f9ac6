"""The recorded searches of the original, step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import ConfigError, SearchError
from tfprune.graph import channel_groups
from tfprune.recipes.ekg.memory_bank import choose_teachers
from tfprune.search.greedy import Search, marked_gates, removable_importance, trimmed_otsu
from tfprune.search.state import Gates, SearchState, SubNetwork

SCORE_TOLERANCE = 1e-5
"""Rounding of the objective: the original's own noise is 1e-7, up to 5e-5 where a rank tie falls the other way."""


def small_search(resnet20, validation, **settings):
    images, labels = validation
    return Search(resnet20, images[:64], labels[:64], target=0.45, batch_size=48, **settings)


def assert_close_scores(scores, expected):
    np.testing.assert_allclose(scores, expected, rtol=0.02, atol=2e-3 * expected.max())


@pytest.mark.slow
def test_whole_resnet20_search(golden, resnet20, validation):
    search = small_search(resnet20, validation, original_quirks=True)
    start = state = search.start()
    accuracy, loss, _, params, flops = golden["r20/search_init"]
    np.testing.assert_allclose([state.accuracy, state.loss], [accuracy, loss], rtol=1e-6)
    assert (state.params, state.flops) == (params, flops)
    for steps, (state, step) in enumerate(search.run(start), 1):
        recorded = f"r20/search_step/{steps:03d}/"
        tried = [candidate.gate for candidate in step.candidates]
        assert tried == np.flatnonzero(golden[recorded + "check"]).tolist()
        assert step.chosen.gate == golden[recorded + "best"]
        for name, column in {"score": "score", "loss": "loss", "acc": "accuracy", "p": "params", "f": "flops"}.items():
            values = [getattr(candidate, column) for candidate in step.candidates]
            np.testing.assert_allclose(values, golden[recorded + name][tried], rtol=0, atol=SCORE_TOLERANCE)
        np.testing.assert_allclose(state.rates, golden[recorded + "width_after"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(state.knowledge, golden[f"r20/search_K/{steps:03d}"], atol=2e-4)
        assert_close_scores(step.scores, golden[recorded + "scores"])
    assert steps == 26
    result = search.result(state)
    assert (result.params, result.flops) == (68_670, 18_473_984) == tuple(golden["r20/search_final_params_flops"])
    losses = [entry.loss for entry in result.history]
    np.testing.assert_allclose(losses, golden["r20/search_history_loss"][: len(losses)], atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(result.history[0].rates, golden["r20/search_history0_rates"])
    assert choose_teachers(losses, 5, original_quirks=True) == golden["r20/search_teachers"].tolist()
    small = result.slim()
    widths = [layer.filters for layer in small.layers if hasattr(layer, "filters")]
    assert sorted(widths) == sorted(golden["r20/search_final_widths"].tolist())
    logits = small(golden["test64_x"], training=True)
    np.testing.assert_allclose(logits, golden["r20/final_slim_logits_bs64"], atol=1e-4)


def recorded_state(search: Search, recorded, number: int) -> SearchState:
    """The state before a step of the recorded ResNet-56 search."""
    rates, orders = recorded[f"search_step/{number:03d}/rates"], recorded[f"search_step/{number - 1:03d}/order"]
    params, flops = search.cost.totals(search.gates.mask(orders, rates))
    entry = SubNetwork(orders, rates, 0.0)
    return SearchState(
        rates, orders, recorded[f"search_K/{number - 1:03d}"], number, (entry, entry), params, flops, 0.0
    )


def check_recorded_step(search, recorded, number, monkeypatch):
    """Scores as recorded; then, from the recorded scores, the same candidates, objectives and choice.

    Ranks are taken from the recorded scores because near-ties among them fall either way by rounding, and then another
    channel goes.
    """
    state = search.start() if number == 1 else recorded_state(search, recorded, number)
    prefix = f"search_step/{number:03d}/"
    own_scores, cached = search._score(state)
    assert_close_scores(own_scores, recorded[prefix + "scores"])
    with monkeypatch.context() as patch:
        patch.setattr(search, "_score", lambda state: (recorded[prefix + "scores"], cached))
        _, step = search.step(state)
    assert np.array_equal(step.orders, recorded[prefix + "order"])
    expected = recorded[prefix + "score"]
    tried = [candidate.gate for candidate in step.candidates]
    assert tried == np.flatnonzero(recorded[prefix + "check"]).tolist()
    scores = np.array([candidate.score for candidate in step.candidates])
    if search.dtype == "float32":
        np.testing.assert_allclose(scores, expected[tried], rtol=0, atol=5 * SCORE_TOLERANCE)
    best, second = np.sort(expected[tried])[:2]
    if second - best > SCORE_TOLERANCE:
        assert step.chosen.gate == recorded[prefix + "best"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resnet56_search_from_recorded_states(golden_search, warmed_up, validation, dtype, monkeypatch):
    search = Search(warmed_up, *validation, target=0.45, original_quirks=True, dtype=dtype)
    for number in (1, 2, 13, 25, 38, 50, 64, 77):
        check_recorded_step(search, golden_search, number, monkeypatch)


@pytest.mark.slow
def test_first_step_of_resnet56(golden, warmed_up, validation, monkeypatch):
    images, labels = validation
    search = Search(warmed_up, images[:64], labels[:64], target=0.45, batch_size=64, original_quirks=True)
    state = search.start()
    recorded = golden.section("tiny_search/")
    accuracy, loss, _, params, flops = recorded["search_init"]
    np.testing.assert_allclose([state.accuracy, state.loss], [accuracy, loss], atol=1e-5)
    assert (state.params, state.flops) == (params, flops) == (860_026, 126_837_376)
    check_recorded_step(search, recorded, 1, monkeypatch)


@pytest.mark.slow
def test_mended_search_reaches_the_target_exactly(resnet20, validation):
    search = small_search(resnet20, validation)
    *_, (state, _) = search.run()
    assert state.flops <= 0.45 * search.full_flops
    assert state.flops > 0.42 * search.full_flops
    assert np.array_equal(state.history[0].rates, np.ones(len(search.groups)))
    flops = [search.cost.totals(search.gates.mask(each.orders, each.rates))[1] for each in state.history]
    assert flops == sorted(flops, reverse=True)
    assert len(set(flops)) == len(flops)
    small = search.result(state).slim()
    assert small.count_params() == state.params


@pytest.mark.slow
def test_fast_screening_makes_the_same_choices(resnet20, validation):
    exact, fast = (small_search(resnet20, validation, dtype=dtype) for dtype in ("float32", "bfloat16"))
    state = exact.start()
    for _ in range(3):
        _, expected = exact.step(state)
        state, received = fast.step(state)
        assert received.chosen.gate == expected.chosen.gate
        np.testing.assert_allclose(received.chosen.score, expected.chosen.score, rtol=1e-6)


def test_target_met_already(resnet20, validation):
    search = small_search(resnet20, validation)
    state = search.start()
    met = Search(resnet20, *(part[:48] for part in validation), target=0.999, batch_size=48)
    smaller = SearchState(**{**vars(state), "flops": int(0.9 * met.full_flops)})
    with pytest.raises(SearchError, match="meets the target of 100% of its FLOPs already"):
        next(met.run(smaller))


def test_images_and_labels_must_match(resnet20, validation):
    images, labels = validation
    with pytest.raises(ConfigError, match="as many labels as images"):
        Search(resnet20, images[:8], labels[:7], target=0.5)


def test_unreachable_target(resnet20, validation):
    search = small_search(resnet20, validation)
    state = search.start()
    nothing_left = SearchState(**{**vars(state), "rates": np.zeros(len(search.groups))})
    with pytest.raises(SearchError, match="no gate is left to try"):
        search.step(nothing_left)


@pytest.mark.parametrize("name", "abcde")
def test_golden_thresholds(golden, name):
    assert trimmed_otsu(golden[f"otsu/{name}/in"]) == pytest.approx(float(golden[f"otsu/{name}/threshold"]), rel=1e-6)


def test_golden_marking_of_the_full_network(golden, resnet56):
    gates = Gates(channel_groups(resnet56), 0.2)
    importance = removable_importance(golden["scores_full"], gates, np.ones(30), original=True)
    np.testing.assert_allclose(importance, golden["gate_sum_full"], rtol=1e-5)
    assert trimmed_otsu(importance) == pytest.approx(float(golden["otsu_threshold_full"]), rel=1e-6)
    assert np.array_equal(marked_gates(importance), golden["do_check_full"])


def test_golden_marking_at_mixed_rates(golden, resnet56):
    gates = Gates(channel_groups(resnet56), 0.2)
    importance = removable_importance(golden["mixed_scores"], gates, golden["mixed_rates"], original=True)
    np.testing.assert_allclose(importance, golden["mixed_marking_sums"], rtol=1e-5, atol=1e-7)
    assert np.array_equal(marked_gates(importance), golden["mixed_do_check"])


def test_importance_of_the_next_decrement(golden, resnet56):
    gates = Gates(channel_groups(resnet56), 0.2)
    scores = np.arange(gates.groups.channels, dtype=np.float32)
    rates = np.ones(30)
    rates[1] = 0.75  # 12 of 16 kept: 4 masked; the decrement to 0.55 keeps 9
    masked = scores.copy()
    masked[gates.groups[1].channels][:4] = 0
    importance = removable_importance(masked, gates, rates)
    start = gates.groups[1].start
    assert importance[1] == sum(range(start + 4, start + 7))
    assert importance[0] == 0  # a shared gate gives up one channel of 16: the one of score 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_threshold_lies_within_the_values(values):
    assert min(values) <= trimmed_otsu(values) <= max(values)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_too_few_to_part_are_all_marked(count):
    assert marked_gates(np.arange(count, dtype=float)).all()


def test_gates_without_width_are_never_marked():
    importance = np.array([np.inf, 1.0, np.inf])
    assert marked_gates(importance).tolist() == [False, True, False]
    assert not marked_gates(np.full(3, np.inf)).any()
