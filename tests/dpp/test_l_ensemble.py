"""L-ensembles against all subsets, one by one, in plain NumPy, and against tensorflow-probability."""

import os
import subprocess
import sys
from itertools import chain, combinations

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import chisquare

from tfprune.dpp import KDPP, LEnsemble, Spectrum
from tfprune.errors import ConfigError

SUBSETS = list(chain.from_iterable(combinations(range(6), size) for size in range(7)))
MASKS = np.array([[item in subset for item in range(6)] for subset in SUBSETS])


@pytest.fixture(scope="module")
def kernel():
    """Six items, two of them nearly the same."""
    features = np.random.default_rng(3).standard_normal((6, 8))
    features[1] = features[0] + 0.2 * features[1]
    return features @ features.T / 8


def enumerated(kernel):
    """det(L_S) / det(L + I) for all subsets."""
    minors = [np.linalg.det(kernel[np.ix_(subset, subset)]) if subset else 1.0 for subset in SUBSETS]
    return np.array(minors) / np.linalg.det(kernel + np.eye(6))


def theirs(ensemble):
    import tensorflow_probability as tfp

    spectrum = ensemble.spectrum
    return tfp.distributions.DeterminantalPointProcess(
        tf.constant(spectrum.values), tf.constant(spectrum.vectors.transpose(0, 2, 1))
    )


@pytest.mark.parametrize("nonempty", [False, True])
def test_law_by_enumeration(kernel, nonempty):
    law = enumerated(kernel)
    assert law.sum() == pytest.approx(1)
    assert law[0] > 0.02
    ensemble = LEnsemble(kernel, nonempty=nonempty)
    np.testing.assert_allclose(ensemble.empty_chances, law[0], rtol=1e-12)
    if nonempty:
        law = np.where(MASKS.any(axis=1), law, 0) / (1 - law[0])
    np.testing.assert_allclose(np.exp(ensemble.log_probability(MASKS[None])[0]), law, rtol=1e-10)
    np.testing.assert_allclose(ensemble.inclusion()[0], law @ MASKS, rtol=1e-12)
    np.testing.assert_allclose(ensemble.expected_sizes, law @ MASKS.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("size", [0.05, 1, 2.5, 5.9])
def test_expected_size(kernel, size):
    ensemble = LEnsemble(kernel, size)
    values = ensemble.spectrum.values
    np.testing.assert_allclose((values / (1 + values)).sum(axis=1), size, rtol=1e-12)
    factors = ensemble.spectrum.matrices()[0] / kernel
    np.testing.assert_allclose(factors, factors[0, 0], rtol=1e-9)  # the same kernel, times one number
    law = enumerated(factors[0, 0] * kernel)
    assert law @ MASKS.sum(axis=1) == pytest.approx(size)
    assert LEnsemble(kernel, size, nonempty=True).expected_sizes[0] == pytest.approx(size / (1 - law[0]))


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_kernels_of_any_scale(kernel, factor):
    np.testing.assert_allclose(LEnsemble(kernel * factor, 2).inclusion(), LEnsemble(kernel, 2).inclusion(), rtol=1e-9)


@pytest.mark.parametrize("nonempty", [False, True])
def test_draws_follow_the_law(kernel, nonempty):
    ensemble = LEnsemble(kernel, 1.5, nonempty=nonempty)
    law = enumerated(ensemble.spectrum.matrices()[0])
    if nonempty:
        law = np.where(MASKS.any(axis=1), law, 0) / (1 - law[0])
    drawn = ensemble.sample(4000, seed=1)[0]
    assert drawn.any(axis=1).all() == nonempty
    counts = (drawn[:, None] == MASKS).all(axis=2).sum(axis=0)
    assert counts.sum() == 4000
    rare = law * 4000 < 5
    assert (counts[law == 0] == 0).all()
    pooled = [np.append(each[~rare], each[rare].sum()) for each in (counts, law * 4000)]
    assert chisquare(*pooled).pvalue > 1e-3
    independent = np.append(np.full((~rare).sum(), 1.0), rare.sum())
    assert chisquare(pooled[0], independent / independent.sum() * 4000).pvalue < 1e-9  # another law is noticed


def test_seeds_and_several_kernels(kernel, monkeypatch):
    kernels = np.stack([kernel, np.eye(6)])
    ensemble = LEnsemble(kernels, 2, nonempty=True)
    drawn = ensemble.sample(200, seed=4)
    assert drawn.shape == (2, 200, 6)
    np.testing.assert_array_equal(drawn, ensemble.sample(200, seed=4))
    assert not np.array_equal(drawn, ensemble.sample(200, seed=5))
    for mine, inclusion in zip(drawn.mean(axis=1), ensemble.inclusion(), strict=True):
        np.testing.assert_allclose(mine, inclusion, atol=4 * np.sqrt(0.25 / 200))
    monkeypatch.setattr("tfprune.dpp.l_ensemble._BYTES", 8 * 2 * 36 * 7)  # seven draws at a time
    assert ensemble.sample(20, seed=4).shape == (2, 20, 6)


def test_probabilities_of_tensorflow_probability(kernel):
    ensemble = LEnsemble(kernel, 2)
    some = MASKS[1:]
    np.testing.assert_allclose(ensemble.log_probability(some[None])[0], theirs(ensemble).log_prob(some), rtol=1e-9)
    np.testing.assert_allclose(ensemble.inclusion(), np.diag(theirs(ensemble).marginal_kernel()[0])[None], rtol=1e-9)


@pytest.mark.parametrize("name", ["node", "edge"])
def test_inclusion_of_kdpps_by_the_marginals_of_tensorflow_probability(golden, name):
    """An L-ensemble is a mixture of k-DPPs over all k, whose weights are e_k(L) / det(L + I)."""
    kernels = golden[f"kernel/{name}_f64"]
    kernel = (kernels if name == "node" else kernels[0])[:12, :12]
    spectrum = LEnsemble(kernel, len(kernel) / 2).spectrum
    kdpps = [KDPP(spectrum, size) for size in range(1, len(kernel) + 1)]
    shares = np.exp([kdpp.log_normalizer()[0] - np.log1p(spectrum.values).sum() for kdpp in kdpps])
    mixed = sum(share * kdpp.inclusion()[0] for share, kdpp in zip(shares, kdpps, strict=True))
    marginals = np.diag(theirs(LEnsemble(spectrum)).marginal_kernel()[0])
    assert marginals.std() > 0.01
    np.testing.assert_allclose(mixed, marginals, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 3])
def test_inclusion_of_kdpps_by_the_draws_of_tensorflow_probability(golden, size):
    """Of its draws those with `size` items are draws of the k-DPP."""
    spectrum = LEnsemble(golden["kernel/node_f64"], size).spectrum
    drawn = np.asarray(theirs(LEnsemble(spectrum)).sample(6000, seed=tf.constant([1, size])))[:, 0]
    drawn = drawn[drawn.sum(axis=1) == size]
    assert len(drawn) > 1000
    inclusion = KDPP(spectrum, size).inclusion()[0]
    np.testing.assert_allclose(drawn.mean(axis=0), inclusion, atol=4 * np.sqrt(0.25 / len(drawn)))
    ours = KDPP(spectrum, size).sample(2000, seed=0)[0]
    np.testing.assert_allclose(np.bincount(ours.ravel()) / 2000, drawn.mean(axis=0), atol=0.06)


def test_log_probabilities_of_kdpps(kernel):
    for size in (1, 3):
        subsets = [subset for subset in SUBSETS if len(subset) == size]
        minors = np.array([np.linalg.det(kernel[np.ix_(subset, subset)]) for subset in subsets])
        found = KDPP(kernel, size).log_probability(np.array(subsets)[None])
        np.testing.assert_allclose(np.exp(found[0]), minors / minors.sum(), rtol=1e-10)


def test_singular_kernels():
    """Two copies of an item are never drawn together; 2c/(1+2c) + 2c/(1+c) = 2 holds for the golden ratio c."""
    features = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    ensemble = LEnsemble(features @ features.T, 2)
    both = np.array([[[True, True, False, False], [True, False, True, False]]])
    c = (1 + np.sqrt(5)) / 2
    expected = [0, c**2 / ((1 + 2 * c) * (1 + c) ** 2)]
    np.testing.assert_allclose(np.exp(ensemble.log_probability(both))[0], expected, atol=1e-12)
    drawn = ensemble.sample(200, seed=0)[0]
    assert not (drawn[:, 0] & drawn[:, 1]).any()
    with pytest.raises(ConfigError, match="between 0 and the kernel's rank 3, received 3"):
        LEnsemble(features @ features.T, 3)


@pytest.mark.parametrize("size", [0, -1, 6])
def test_sizes_that_cannot_be_expected(kernel, size):
    with pytest.raises(ConfigError, match="between 0 and the kernel's rank 6, received"):
        LEnsemble(kernel, size)
    with pytest.raises(ConfigError, match="expected_size: expected a "):
        LEnsemble(kernel, np.nan)


def test_draws_that_cannot_be_made(kernel):
    with pytest.raises(ConfigError, match="draws: expected a whole number from 1 to "):
        LEnsemble(kernel).sample(0, seed=0)
    with pytest.raises(ConfigError, match="rarely empty"):
        LEnsemble(Spectrum.from_kernels(kernel), 1e-4, nonempty=True).sample(1, seed=0)


@pytest.mark.parametrize("missing", ["tensorflow_probability", "tf_keras"])
def test_without_tensorflow_probability(missing):
    """It is imported by the first draw, and a missing package is one line."""
    code = (
        "import sys, numpy as np, tfprune.recipes.dpp.pruning, tfprune.recipes.dpp.comparison\n"
        "from tfprune.dpp import LEnsemble\n"
        "ensemble = LEnsemble(np.eye(3), 1)\n"
        "assert not {'tensorflow_probability', 'tf_keras'} & set(sys.modules)\n"
        f"sys.modules['{missing}'] = None\n"
        "try:\n    ensemble.sample(1, seed=0)\n"
        "except tfprune.errors.ConfigError as error:\n    print(error)\n"
    )
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.count("\n") == 1
    assert "expected the packages tensorflow-probability and tf-keras" in done.stdout
    assert missing in done.stdout
    assert "pip install" in done.stdout
