import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from tfprune.dpp import KDPP, Spectrum, dppy_draws
from tfprune.dpp.sampling import IndependentProposals


@pytest.fixture(scope="module")
def kernels():
    """Two kernels of 7 items that are correlated enough for proposals to be refused often."""
    features = np.random.default_rng(4).standard_normal((2, 7, 9)) * np.linspace(0.8, 1.2, 7)[:, None]
    return features @ features.transpose(0, 2, 1)


def _counts(drawn, subsets):
    return (drawn[:, None] == subsets).all(axis=2).sum(axis=0)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_law(kernels, size):
    kdpp = KDPP(kernels, size)
    subsets, law = kdpp.probabilities()
    drawn = IndependentProposals.from_kernels(kernels, size).draws(4000, seed=size)
    np.testing.assert_array_equal(kdpp.sample(4000, seed=size), drawn)
    for mine, expected in zip(drawn, law, strict=True):
        assert chisquare(_counts(mine, subsets), expected * 4000).pvalue > 1e-3


def test_both_ways_and_dppy_draw_from_one_law(kernels):
    kdpp = KDPP(kernels[0], 5)
    subsets, law = kdpp.probabilities()
    ours, spectral = kdpp.sample(1500, seed=1)[0], KDPP(Spectrum.from_kernels(kernels[0]), 5).sample(1500, seed=1)[0]
    assert not np.array_equal(ours, spectral)
    theirs = np.sort(dppy_draws(kernels[0], 5, 1500, seed=1)[0])
    counts = [_counts(drawn, subsets) for drawn in (ours, spectral, theirs)]
    assert chi2_contingency(counts).pvalue > 1e-3
    assert chisquare(counts[1], law[0] * 1500).pvalue > 1e-3
    diagonal = KDPP(np.diag(np.diagonal(kernels[0])), 5).sample(1500, seed=1)[0]
    assert chi2_contingency([*counts, _counts(diagonal, subsets)]).pvalue < 1e-5  # the test would notice


@pytest.mark.parametrize("size", [2, 4])
def test_expected_acceptance(kernels, size):
    proposals = IndependentProposals.from_kernels(kernels, size)
    diagonals = np.stack([np.diag(np.diagonal(kernel)) for kernel in kernels])
    exact = np.exp(KDPP(kernels, size).log_normalizer() - KDPP(diagonals, size).log_normalizer())
    np.testing.assert_allclose(proposals.acceptance, exact, rtol=0.4)


def test_edges_need_no_eigenvectors(golden):
    kdpp = KDPP(golden["kernel/edge_f64"], 8)
    drawn = kdpp.sample(50, seed=0)
    assert "spectrum" not in vars(kdpp)
    assert drawn.shape == (6, 50, 8)
    assert (np.diff(drawn, axis=2) > 0).all()


@pytest.mark.parametrize(
    "kernel",
    [
        np.full((12, 12), 0.999) + 0.001 * np.eye(12),
        np.diag([1.0, 1.0, 0.0]),
        np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        np.outer([1.0, 2, 3], [1.0, 2, 3]),
    ],
    ids=["alike", "nothing", "indefinite", "singular"],
)
def test_kernels_left_to_eigenvectors(kernel):
    assert IndependentProposals.from_kernels(kernel[None], len(kernel) // 2) is None


def test_what_proposals_leave_is_drawn_from_eigenvectors():
    """Three items that are nearly one: subsets of one or none would have been fine, so more was hoped for."""
    scales = np.array([1.0, 1.5, 2.0])
    kdpp = KDPP((np.full((3, 3), 0.999) + np.diag([0.001, 0.002, 0.003])) * np.outer(scales, scales), 2)
    few = kdpp._proposals.draws(2000, seed=2)[0]
    assert 20 < len(few) < 1000
    drawn = kdpp.sample(2000, seed=2)[0]
    np.testing.assert_array_equal(drawn[: len(few)], few)
    subsets, law = kdpp.probabilities()
    assert chisquare(_counts(drawn, subsets), law[0] * 2000).pvalue > 1e-3


@pytest.mark.slow
def test_compiled_proposals_follow_the_law(kernels):
    kdpp = KDPP(kernels, 3, compile=True)
    subsets, law = kdpp.probabilities()
    assert chisquare(_counts(kdpp.sample(5000, seed=1)[1], subsets), law[1] * 5000).pvalue > 1e-3
