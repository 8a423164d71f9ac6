from itertools import combinations

import numpy as np
import pytest

from tfprune.dpp import Committee, edge_kernels, gram, node_kernel
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.pruning import draw_masks, log_probabilities, parameters_left


@pytest.fixture
def student(golden):
    return Committee(golden["student/w1_normalised"].astype(float), golden["student/w2"][0].astype(float))


@pytest.fixture
def moments(golden):
    return gram(golden["data/inputs"].T)


@pytest.mark.parametrize("k", [8, 16, 25, 33, 41])
def test_importance_of_edges(golden, student, moments, k):
    masks = draw_masks("importance_edge", student, moments, k, 7, seed=0)
    np.testing.assert_array_equal(masks, golden[f"masks/importance_edge_{k}"].T[None])


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_importance_of_nodes(golden, student, moments, k):
    masks = draw_masks("importance_node", student, moments, k, 7, seed=0, original_quirks=True)
    np.testing.assert_array_equal(masks, golden[f"masks/importance_node_{k}"].T[None])
    ours = draw_masks("importance_node", student, moments, k, 7, seed=0)[0].any(axis=1)
    assert np.abs(student.outgoing)[ours].min() >= np.abs(student.outgoing)[~ours].max()


@pytest.mark.parametrize(("choice", "k"), [("dpp_node", 3), ("random_node", 3), ("dpp_edge", 25), ("random_edge", 25)])
def test_numbers_and_seeds(student, moments, choice, k):
    masks = draw_masks(choice, student, moments, k, 10, seed=1)
    kept = masks.any(axis=2).sum(axis=1) if choice.endswith("node") else masks.sum(axis=2)
    assert masks.shape == (10, 6, 50)
    assert (kept == k).all()
    np.testing.assert_array_equal(draw_masks(choice, student, moments, k, 10, seed=1), masks)
    assert not np.array_equal(draw_masks(choice, student, moments, k, 10, seed=2), masks)


def test_quirk_of_random_edges(student, moments):
    counts = draw_masks("random_edge", student, moments, 25, 50, seed=1, original_quirks=True).sum(axis=2)
    assert counts.std() == pytest.approx(np.sqrt(50 * 0.25), rel=0.2)
    assert counts.mean() == pytest.approx(25, abs=1)


def test_laws_of_dpp_masks(student, moments):
    """Frequencies of single nodes and edges follow the kernels, not chance."""
    from tfprune.dpp import KDPP

    nodes = draw_masks("dpp_node", student, moments, 2, 1000, seed=3).any(axis=2).mean(axis=0)
    np.testing.assert_allclose(nodes, KDPP(node_kernel(student.weights, moments), 2).inclusion()[0], atol=0.06)
    edges = draw_masks("dpp_edge", student, moments, 10, 400, seed=3).mean(axis=0)
    inclusion = KDPP(edge_kernels(student.weights, moments), 10).inclusion()
    assert np.corrcoef(edges.ravel(), inclusion.ravel())[0, 1] > 0.97


def test_more_than_there_are(student, moments):
    with pytest.raises(ConfigError, match="from 1 to the 6 nodes there are, received 7"):
        draw_masks("dpp_node", student, moments, 7, 1, seed=0)


def minor(kernel, chosen):
    return np.linalg.det(kernel[np.ix_(chosen, chosen)])


def scaled(kernel, size):
    """The kernel times the number that gives its L-ensemble the expected size, found step by step."""
    values, low, high = np.linalg.eigvalsh(kernel), 1e-30, 1e30
    for _ in range(200):
        factor = np.sqrt(low * high)
        low, high = (low, factor) if (factor * values / (1 + factor * values)).sum() > size else (factor, high)
    return kernel * factor


def test_nodes_of_random_number(student, moments):
    masks = draw_masks("dpp_node", student, moments, "random", 400, seed=1, expected_size=1)
    kept = masks.any(axis=2)
    assert masks.shape == (400, 6, 50)
    np.testing.assert_array_equal(masks, np.repeat(kept[:, :, None], 50, axis=2))
    kernel = scaled(node_kernel(student.weights, moments), 1)
    law = {
        subset: minor(kernel, list(subset))
        for size in range(1, 7)
        for subset in combinations(range(6), size)  # the empty one is left out
    }
    total = sum(law.values())
    assert total == pytest.approx(np.linalg.det(kernel + np.eye(6)) - 1)
    expected = np.log([law[tuple(np.flatnonzero(each))] / total for each in kept])
    found = log_probabilities("dpp_node", student, moments, "random", masks, expected_size=1)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    mean = sum(len(subset) * chance for subset, chance in law.items()) / total
    sizes = kept.sum(axis=1)
    assert 1.1 < mean < 1.6
    assert set(sizes) >= {1, 2}
    assert sizes.mean() == pytest.approx(mean, abs=4 * sizes.std() / 20)
    np.testing.assert_array_equal(
        masks, draw_masks("dpp_node", student, moments, "random", 400, seed=1, expected_size=1)
    )
    assert parameters_left(masks[0]) == 51 * sizes[0]


def test_edges_of_random_number(student, moments):
    masks = draw_masks("dpp_edge", student, moments, "random", 30, seed=1, expected_size=8)
    counts = masks.sum(axis=2)
    assert counts.min() >= 1
    assert counts.std() > 1
    assert counts.mean() == pytest.approx(8, abs=4 * counts.std() / np.sqrt(counts.size))
    expected = np.zeros(30)
    for node, kernel in enumerate(edge_kernels(student.weights, moments)):
        kernel = scaled(kernel, 8)
        normalizer = np.linalg.slogdet(kernel + np.eye(50))[1]
        expected += [np.log(minor(kernel, np.flatnonzero(mask[node]))) - normalizer for mask in masks]
    found = log_probabilities("dpp_edge", student, moments, "random", masks, expected_size=8)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # an empty draw has probability 2e-4


@pytest.mark.parametrize(("choice", "k"), [("dpp_node", 3), ("dpp_edge", 2)])
def test_log_probabilities_of_masks_of_fixed_size(student, moments, choice, k):
    kernels = edge_kernels(student.weights, moments)
    if choice == "dpp_node":
        kernels = node_kernel(student.weights, moments)[None]
    masks = draw_masks(choice, student, moments, k, 5, seed=2)
    expected = np.zeros(5)
    for number, kernel in enumerate(kernels):
        everything = sum(minor(kernel, list(subset)) for subset in combinations(range(len(kernel)), k))
        chosen = masks.any(axis=2) if choice == "dpp_node" else masks[:, number]
        expected += np.log([minor(kernel, np.flatnonzero(each)) / everything for each in chosen])
    np.testing.assert_allclose(log_probabilities(choice, student, moments, k, masks), expected, rtol=1e-8)
