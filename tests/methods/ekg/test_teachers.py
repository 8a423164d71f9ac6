import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.methods.ekg.teachers import choose_teachers


@pytest.mark.parametrize("count", [3, 5, 7])
@pytest.mark.parametrize("name", ["rise20_f64", "noisy40_f64", "noisy40_f32", "few4_f64", "dups_f64"])
def test_golden(golden, name, count):
    chosen = choose_teachers(golden[f"bank/{name}/loss"], count, original_quirks=True)
    assert chosen == golden[f"bank/{name}/nt{count}"].tolist()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 12))
def test_distinct_and_never_too_many(losses, count):
    chosen = choose_teachers(losses, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(losses))
    assert losses[chosen[0]] == min(losses)


def test_equal_losses():
    assert len(choose_teachers(np.ones(6), 3)) == 3
