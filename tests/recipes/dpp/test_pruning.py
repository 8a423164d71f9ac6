import numpy as np
import pytest

from tfprune.dpp import Committee, edge_kernels, gram, node_kernel
from tfprune.errors import ConfigError
from tfprune.recipes.dpp.pruning import draw_masks


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
