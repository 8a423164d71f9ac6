import numpy as np
import pytest

from tfprune.graph import CostModel, channel_groups
from tfprune.search.state import Gates

CASES = ("all1", "all0.9", "all0.8", "all0.5", "all0.2", "all0", "inner0.6_group1", "ramp", "group64_0.98438")


@pytest.fixture(scope="module")
def gates(resnet56):
    return Gates(channel_groups(resnet56), 0.2)


def test_golden_steps(golden, gates):
    np.testing.assert_allclose(gates.steps, golden["gate_search_step"])
    np.testing.assert_allclose(gates.fine_steps, golden["gate_fine_step"])


def test_golden_orders(golden, gates):
    """Equal scores rank by position, so the order is exact."""
    assert np.array_equal(gates.orders(golden["scores_full"]), golden["order_full"])


def test_golden_masks_at_mixed_rates(golden, gates):
    mask = gates.mask(golden["order_full"], golden["mixed_rates"])
    assert np.array_equal(mask, golden["mixed_masks"] > 0)


@pytest.mark.parametrize("name", CASES)
def test_golden_complexity(golden, gates, resnet56, name):
    rates = golden[f"cplx_rates/{name}"]
    mask = gates.mask(golden["order_full"], rates)
    params, flops, _, _ = golden[f"cplx/{name}"]
    assert CostModel(resnet56, gates.groups).totals(mask) == (params, flops)
    kept = [gates.kept(index, rate) for index, rate in enumerate(rates)]
    assert kept == golden[f"cplx_kept/{name}"].tolist()
    assert kept == [int(mask[group.channels].sum()) for group in gates.groups]
