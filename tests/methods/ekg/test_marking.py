import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.graph import channel_groups
from tfprune.methods.ekg.gates import Gates
from tfprune.methods.ekg.marking import marked_gates, removable_importance, trimmed_otsu


@pytest.mark.parametrize("name", "abcde")
def test_golden_thresholds(golden, name):
    assert trimmed_otsu(golden[f"otsu/{name}/in"]) == pytest.approx(float(golden[f"otsu/{name}/threshold"]), rel=1e-6)


def test_golden_marking_of_the_full_network(golden, warmed_up):
    gates = Gates(channel_groups(warmed_up), 0.2)
    importance = removable_importance(golden["scores_full"], gates, np.ones(30), whole=True)
    np.testing.assert_allclose(importance, golden["gate_sum_full"], rtol=1e-5)
    assert trimmed_otsu(importance) == pytest.approx(float(golden["otsu_threshold_full"]), rel=1e-6)
    assert np.array_equal(marked_gates(importance), golden["do_check_full"])


def test_golden_marking_at_mixed_rates(golden, warmed_up):
    gates = Gates(channel_groups(warmed_up), 0.2)
    importance = removable_importance(golden["mixed_scores"], gates, golden["mixed_rates"], whole=True)
    np.testing.assert_allclose(importance, golden["mixed_marking_sums"], rtol=1e-5, atol=1e-7)
    assert np.array_equal(marked_gates(importance), golden["mixed_do_check"])


def test_importance_of_the_next_decrement(golden, warmed_up):
    gates = Gates(channel_groups(warmed_up), 0.2)
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
