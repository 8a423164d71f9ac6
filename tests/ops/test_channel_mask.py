import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.ops import channel_mask, keep_limit, rank_scores


@pytest.mark.parametrize("name", ["rand16", "rand64", "ties16", "zeros8"])
def test_golden(golden, name):
    case = {key: golden[f"mask/{name}/{key}"] for key in ("score", "order", "rates", "masks")}
    order = rank_scores(case["score"])
    assert np.array_equal(order, case["order"])
    for rate, expected in zip(case["rates"], case["masks"], strict=True):
        assert np.array_equal(channel_mask(order, rate), expected)
        assert np.array_equal(order < keep_limit(len(order), rate), expected > 0)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(0, 10, width=32)), st.floats(-0.5, 1, width=32))
def test_keeps_the_best_and_at_least_one(scores, rate):
    order = rank_scores(scores)
    assert sorted(order) == list(range(len(scores)))
    mask = np.asarray(channel_mask(order, np.float32(rate))) > 0
    assert mask.sum() == max(1, np.ceil(np.float32(len(scores)) * np.float32(rate)))
    if mask.any() and not mask.all():
        assert scores[mask].min() >= scores[~mask].max()


def test_nothing_ranked_keeps_everything():
    assert np.all(channel_mask(np.zeros(5, np.float32), np.float32(0.2)) == 1)
