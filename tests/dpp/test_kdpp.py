import numpy as np
import pytest
from dppy.finite_dpps import FiniteDPP
from scipy.stats import chisquare

from tfprune.dpp import KDPP, Spectrum, dppy_draws
from tfprune.errors import ConfigError


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_law_by_enumeration(golden, size):
    subsets, found = KDPP(golden["kernel/node_f64"], size).probabilities()
    np.testing.assert_array_equal(subsets, golden[f"kdpp/node_k{size}/subsets"])
    np.testing.assert_allclose(found[0], golden[f"kdpp/node_k{size}/prob"], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("size", [2, 5])
def test_draws_follow_the_law_and_dppys_counts(golden, size):
    """Draws from eigenvectors, and together with 20,000 of DPPy's."""
    kdpp = KDPP(Spectrum.from_kernels(golden["kernel/node_f64"]), size)
    subsets, law = kdpp.probabilities()
    counts = _counts(kdpp.sample(8000, seed=5)[0], subsets)
    assert counts.sum() == 8000
    assert chisquare(*_pooled(counts, law[0] * 8000)).pvalue > 1e-3
    both = counts + golden[f"kdpp/node_k{size}/count20000"]
    assert chisquare(*_pooled(both, law[0] * 28_000)).pvalue > 1e-3


def test_the_chi_square_test_would_notice_another_law(golden):
    subsets, law = KDPP(golden["kernel/node_f64"], 3).probabilities()
    counts = _counts(KDPP(np.eye(6), 3).sample(8000, seed=5)[0], subsets)
    assert chisquare(*_pooled(counts, law[0] * 8000)).pvalue < 1e-9


@pytest.mark.parametrize("size", [8, 25, 41])
def test_inclusion_of_edges(golden, size):
    inclusion = KDPP(golden["kernel/edge_f64"], size).inclusion()
    for node in range(6):
        np.testing.assert_allclose(inclusion[node], golden[f"kdpp/edge_node{node}_k{size}/inclusion"], atol=1e-10)


@pytest.mark.parametrize(("size", "way"), [(8, "proposals"), (25, "proposals"), (25, "eigenvectors")])
def test_inclusion_frequencies_of_edges(golden, size, way):
    kernels = golden["kernel/edge_f64"]
    kdpp = KDPP(kernels if way == "proposals" else Spectrum.from_kernels(kernels), size)
    drawn, inclusion = kdpp.sample(400, seed=1), kdpp.inclusion()
    found = np.stack([np.bincount(each.ravel(), minlength=50) / 400 for each in drawn])
    deviations = (found - inclusion) / np.sqrt(np.maximum(inclusion * (1 - inclusion), 1e-4) / 400)
    assert np.abs(deviations).max() < 5
    assert np.mean(deviations**2) < 1.4
    assert (np.diff(drawn, axis=2) > 0).all()


def test_pairs_of_items_that_are_much_alike():
    """An RBF kernel, whose k-DPP is far from independent items, pair by pair against the exact law."""
    points = np.random.default_rng(0).random((12, 2))
    kernel = np.exp(-4 * ((points[:, None] - points) ** 2).sum(axis=2))
    kdpp = KDPP(kernel, 5)
    subsets, law = kdpp.probabilities()
    member = (subsets[:, :, None] == np.arange(12)).any(axis=1).astype(float)
    exact = np.einsum("s,si,sj->ij", law[0], member, member)
    drawn = (kdpp.sample(10_000, seed=3)[0][:, :, None] == np.arange(12)).any(axis=1)
    found = np.einsum("si,sj->ij", drawn, drawn, dtype=float) / 10_000
    assert exact.min() < 0.02  # independent items: (5 / 12)^2
    assert "spectrum" in vars(kdpp)
    deviations = (found - exact) / np.sqrt(np.maximum(exact * (1 - exact), 1e-5) / 10_000)
    assert np.abs(deviations).max() < 5


def test_chance_of_pairs_that_repel():
    """Items 0 and 1 are nearly the same: a kernel's diagonal alone would take both often."""
    features = np.array([[1.0, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    kdpp = KDPP(features @ features.T, 2)
    subsets, law = kdpp.probabilities()
    share = _counts(kdpp.sample(8000, seed=2)[0], subsets)[0] / 8000
    assert law[0, 0] < 0.01
    assert abs(share - law[0, 0]) < 4 * np.sqrt(law[0, 0] / 8000)


@pytest.mark.slow
def test_compiled_draws_follow_the_law(golden):
    kdpp = KDPP(Spectrum.from_kernels(golden["kernel/node_f64"]), 3, compile=True)
    subsets, law = kdpp.probabilities()
    counts = _counts(kdpp.sample(4000, seed=7)[0], subsets)
    assert chisquare(*_pooled(counts, law[0] * 4000)).pvalue > 1e-3


def test_seeds():
    kdpp = KDPP(np.diag(np.arange(1.0, 9)), 3)
    np.testing.assert_array_equal(kdpp.sample(5, seed=1), kdpp.sample(5, seed=1))
    assert not np.array_equal(kdpp.sample(5, seed=1), kdpp.sample(5, seed=2))


@pytest.mark.parametrize("factor", [1e-110, 1e110])
def test_polynomials_beyond_float64(golden, factor):
    kernel = np.diag(np.linspace(1, 2, 12))
    kdpp, scaled = KDPP(kernel, 6), KDPP(kernel * factor, 6)
    np.testing.assert_allclose(scaled.inclusion(), kdpp.inclusion(), rtol=1e-9)
    np.testing.assert_array_equal(scaled.sample(20, seed=3), kdpp.sample(20, seed=3))


def test_float32_kernels_are_decomposed_in_float64(golden):
    assert Spectrum.from_kernels(golden["kernel/edge_f32"]).vectors.dtype == np.float64
    drawn = KDPP(golden["kernel/edge_f32"], 25).sample(100, seed=1)
    assert all(len(set(subset)) == 25 for each in drawn for subset in each.tolist())


@pytest.mark.parametrize(
    ("kernel", "size", "message"),
    [
        (np.eye(3), 4, "k: expected a whole number from 1 to 3"),
        (np.eye(3), 0, "k: expected a whole number from 1 to 3"),
        (np.diag([1.0, 1, 0]), 3, "rank 2"),
        (np.diag([1.0, -1, 1]), 2, "positive semidefinite"),
        (np.full((2, 2), np.nan), 1, "NaN"),
        (np.array([[1.0, 0.5], [0, 1]]), 1, "symmetric"),
        (np.ones((2, 3)), 1, "square"),
    ],
)
def test_unfit_kernels(kernel, size, message):
    with pytest.raises(ConfigError, match=message):
        KDPP(kernel, size)


def _counts(drawn, subsets):
    return (drawn[:, None] == subsets).all(axis=2).sum(axis=0)


def _pooled(counts, expected):
    rare = expected < 5
    if not rare.any():
        return counts, expected
    return np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())


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
