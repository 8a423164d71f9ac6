import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfprune.ops import masked_kernel


def test_by_hand():
    kernel = np.array([[3.0, 4.0], [0.0, 12.0]], np.float32)  # norm 13
    masked = masked_kernel(kernel, np.array([1.0, 0.0], np.float32), np.array([1.0, 0.0], np.float32))
    np.testing.assert_allclose(masked, [[13.0, 0.0], [0.0, 0.0]], rtol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_norm_is_kept_and_masked_channels_are_zero(seed):
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 3, 5, 7)).astype(np.float32)
    in_mask, out_mask = ((rng.random(size) < 0.6).astype(np.float32) for size in (5, 7))
    in_mask[0] = out_mask[0] = 1
    masked = np.asarray(masked_kernel(kernel, in_mask, out_mask))
    np.testing.assert_allclose(np.linalg.norm(masked), np.linalg.norm(kernel), rtol=1e-5)
    assert np.all(masked[:, :, in_mask == 0] == 0)
    assert np.all(masked[..., out_mask == 0] == 0)
    kept = masked[:, :, in_mask > 0][..., out_mask > 0] / kernel[:, :, in_mask > 0][..., out_mask > 0]
    np.testing.assert_allclose(kept, kept.flat[0], rtol=1e-5)


def test_nothing_masked_changes_nothing_beyond_rounding():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
    np.testing.assert_allclose(masked_kernel(kernel, np.ones(4, np.float32)), kernel, rtol=1e-6)


def test_everything_masked_is_zero_and_finite():
    kernel = np.ones((2, 3), np.float32)
    assert np.all(masked_kernel(kernel, np.zeros(2, np.float32)) == 0)
