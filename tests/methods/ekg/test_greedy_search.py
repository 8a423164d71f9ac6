"""The recorded searches of the original, step by step."""

import numpy as np
import pytest

from tfprune.errors import ConfigError, SearchError
from tfprune.methods.ekg.gates import SubNetwork
from tfprune.methods.ekg.greedy_search import Search
from tfprune.methods.ekg.search_state import SearchState
from tfprune.methods.ekg.teachers import choose_teachers

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
    recorded = {name.removeprefix("tiny_search/"): value for name, value in golden.items() if "tiny_search/" in name}
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
