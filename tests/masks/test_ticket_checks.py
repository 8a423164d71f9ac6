import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfprune.errors import ConfigError
from tfprune.masks import Masks, inverse_masks, rearranged_masks, shuffled_weights

ARRAYS = st.dictionaries(
    st.sampled_from(["a/kernel", "b/kernel", "c/kernel"]),
    hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)),
    min_size=1,
)


@given(arrays=ARRAYS, seed=st.integers(0, 2**32 - 1))
def test_counts_stay(arrays, seed):
    masks = Masks(arrays)
    scores = {name: np.random.default_rng(seed).random(mask.shape) for name, mask in masks.items()}
    new = rearranged_masks(masks, seed)
    assert new.counts == masks.counts
    assert new == rearranged_masks(masks, seed)
    inverse = inverse_masks(masks, scores)
    assert inverse.counts == masks.counts
    for name, mask in inverse.items():
        if mask.any() and not mask.all():
            assert scores[name][mask].max() <= scores[name][~mask].min()


@given(arrays=ARRAYS, seed=st.integers(0, 2**32 - 1))
def test_shuffled_weights_are_the_same_ones(arrays, seed):
    masks = Masks(arrays)
    weights = {name: np.random.default_rng(seed).standard_normal(mask.shape) for name, mask in masks.items()}
    before = {name: weight.copy() for name, weight in weights.items()}
    shuffled = shuffled_weights(weights, masks, seed)
    for name, mask in masks.items():
        np.testing.assert_array_equal(weights[name], before[name])
        np.testing.assert_array_equal(shuffled[name][~mask], weights[name][~mask])
        np.testing.assert_array_equal(np.sort(shuffled[name][mask]), np.sort(weights[name][mask]))


def test_every_place_is_equally_likely():
    masks = Masks({"a/kernel": np.arange(12).reshape(3, 4) < 3})
    hits = sum(rearranged_masks(masks, seed)["a/kernel"].astype(float) for seed in range(2000))
    assert np.abs(hits / 2000 - 0.25).max() < 0.05


def test_layers_of_one_shape_move_differently():
    masks = Masks({name: np.arange(100) < 50 for name in ("a/kernel", "b/kernel")})
    new = rearranged_masks(masks, 0)
    assert (new["a/kernel"] != new["b/kernel"]).any()


def test_weights_move():
    masks = Masks({"a/kernel": np.arange(100) < 50})
    weights = {"a/kernel": np.arange(100.0)}
    moved = shuffled_weights(weights, masks, 0)["a/kernel"]
    assert (moved[:50] != np.arange(50)).mean() > 0.8


def test_mismatches():
    masks = Masks({"a/kernel": np.ones(4)})
    for change in (inverse_masks, lambda masks, arrays: shuffled_weights(arrays, masks, 0)):
        with pytest.raises(ConfigError, match="a/kernel"):
            change(masks, {"a/kernel": np.ones(5)})
    with pytest.raises(ConfigError, match="finite"):
        inverse_masks(masks, {"a/kernel": np.full(4, np.nan)})
