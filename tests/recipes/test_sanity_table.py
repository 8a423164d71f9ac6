import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.recipes.sanity_table import holm, welch_p_value


def test_welch_by_its_formula():
    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.88, 0.89]
    means, variances = zip(*((np.mean(s), np.var(s, ddof=1) / len(s)) for s in (first, second)), strict=True)
    t = (means[0] - means[1]) / np.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 3 + variances[1] ** 2 / 2)
    # the density of Student's t, integrated
    grid = np.linspace(abs(t), 2000, 4_000_001)
    density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
    whole = np.linspace(-2000, 2000, 8_000_001)
    total = np.trapezoid((1 + whole**2 / freedom) ** (-(freedom + 1) / 2), whole)
    assert welch_p_value(first, second) == pytest.approx(2 * np.trapezoid(density, grid) / total, rel=1e-4)


def test_nothing_to_test():
    assert welch_p_value([0.5], [0.6, 0.7]) is None
    assert welch_p_value([0.5, 0.5], [0.5, 0.5]) == 1
    assert welch_p_value([0.5, 0.5], [0.6, 0.6]) == 0


@given(st.dictionaries(st.integers(), st.floats(0, 1), min_size=1, max_size=8))
def test_holm(p_values):
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    smallest = min(p_values, key=p_values.get)
    assert adjusted[smallest] == min(1, len(p_values) * p_values[smallest])
    for key, value in p_values.items():
        assert value <= adjusted[key] <= 1
        assert all(adjusted[key] <= adjusted[other] for other in p_values if p_values[other] > value)
