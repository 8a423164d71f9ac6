import numpy as np
import pytest
from dppy.finite_dpps import FiniteDPP

from tfprune.dpp import KDPP, dppy_draws


@pytest.fixture(scope="module")
def edges():
    """The kernel of 500 edges of a node, as the original computes it."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(500).astype(np.float32)
    inputs = rng.standard_normal((2000, 500)).astype(np.float32) * weights
    return inputs.T @ inputs / np.float32(2000)


@pytest.mark.slow
def test_float32_kernels_make_dppy_fail_and_not_ours(edges):
    rng = np.random.RandomState(0)
    plain = FiniteDPP("likelihood", L=edges)
    failures = 0
    for _ in range(30):
        try:
            plain.sample_exact_k_dpp(size=250, random_state=rng)
        except ValueError as error:
            assert "probabilities" in str(error)  # noqa: PT017 - how many fail is chance
            failures += 1
    assert failures
    assert dppy_draws(edges, 250, 30, seed=0).shape == (1, 30, 250)
    assert KDPP(edges, 250).sample(30, seed=0).shape == (1, 30, 250)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("factor", [1e-110, 1e110])
def test_polynomials_beyond_float64_make_dppy_fail_and_not_ours(factor):
    features = np.random.default_rng(1).standard_normal((12, 12))
    kernel = features @ features.T * factor
    plain = FiniteDPP("likelihood", L=kernel)
    with pytest.raises((ValueError, ZeroDivisionError)):
        plain.sample_exact_k_dpp(size=6, random_state=np.random.RandomState(0))
    drawn = dppy_draws(kernel, 6, 5, seed=0)
    assert all(len(set(subset)) == 6 for subset in drawn[0].tolist())


def test_inclusion_of_both(golden):
    kernel = golden["kernel/node_f64"]
    expected = KDPP(kernel, 3).inclusion()[0]
    for drawn in (dppy_draws(kernel, 3, 1000, seed=0), KDPP(kernel, 3).sample(1000, seed=0)):
        found = np.bincount(drawn.ravel(), minlength=6) / 1000
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 1000))


def test_the_originals_draws(golden):
    """The same sequences from the same seed, nodes in order."""
    np.testing.assert_array_equal(
        dppy_draws(golden["kernel/node_f64"], 3, 20, seed=0)[0], golden["masks/dpp_node_k3_f64_seed0"]
    )
    np.testing.assert_array_equal(
        dppy_draws(golden["kernel/edge_f64"], 25, 20, seed=0), golden["masks/dpp_edge_k25_f64_seed0"]
    )
