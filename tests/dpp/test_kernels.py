import numpy as np
import pytest

from tfprune.dpp import (
    edge_kernels,
    gram,
    node_kernel,
    rbf_edge_kernel,
    rbf_node_kernel,
    reweighted_edges,
    reweighted_readers,
)
from tfprune.errors import ConfigError


def test_kernels_of_the_normalised_student(golden):
    moments, weights = gram(golden["data/inputs"].T), golden["student/w1_normalised"]
    np.testing.assert_allclose(node_kernel(weights, moments), golden["kernel/node_f64"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(edge_kernels(weights, moments), golden["kernel/edge_f64"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(node_kernel(weights, moments), golden["kernel/node_f32"], rtol=2e-5, atol=2e-5)


def test_rbf_kernels(golden):
    inputs, weights = golden["rbf/X"].astype(float), golden["rbf/W"].T
    moments, beta = inputs.T @ inputs, float(golden["rbf/beta"])
    np.testing.assert_allclose(rbf_node_kernel(weights, moments, beta), golden["rbf/node"], rtol=1e-6, atol=1e-6)
    for row, expected in zip(weights, golden["rbf/edge"], strict=True):
        np.testing.assert_allclose(rbf_edge_kernel(row, moments, beta), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("choice", ["dpp_edge_25", "random_edge_25", "importance_edge_16"])
def test_edges(golden, choice):
    mask = golden[f"reweight/{choice}/mask"].T.astype(bool)
    new = reweighted_edges(golden["student/w1_normalised"], mask, gram(golden["data/inputs"].T))
    np.testing.assert_allclose(new, golden[f"reweight/{choice}/w1_f64"].T * mask, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(new, golden[f"reweight/{choice}/w1_f32"].T * mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", ["dpp_node_3", "importance_node_4"])
def test_nodes(golden, choice):
    kept = golden[f"reweight/{choice}/mask"].any(axis=0)
    weights, moments = golden["student/w1_normalised"], gram(golden["data/inputs"].T)
    new = reweighted_readers(golden["student/w2"].T, kept, node_kernel(weights, moments))
    expected = golden[f"reweight/{choice}/w2_f64"]
    np.testing.assert_allclose(new[kept], expected[kept], rtol=1e-9)
    assert not new[~kept].any()
    signals = 1 / (1 + np.exp(-golden["data/inputs"].T.astype(float) @ weights.T))
    new = reweighted_readers(golden["student/w2"].T, kept, signals.T @ signals)
    np.testing.assert_allclose(new, golden[f"reweight/{choice}/w2_mnist_f64"], rtol=1e-6, atol=1e-9)


def test_nodes_of_the_image_networks(golden):
    signals = 1 / (1 + np.exp(-golden["rbf/X"].astype(float) @ golden["rbf/W"]))
    kept = np.isin(np.arange(5), [0, 2, 4])
    new = reweighted_readers(golden["rbf/w2"], kept, signals.T @ signals)
    np.testing.assert_allclose(new, golden["rbf/reweight_node"], rtol=1e-6, atol=1e-7)


def test_shortest_solution_where_inputs_depend_on_one_another(golden):
    inputs, mask = golden["reweight/deficient/X"], golden["reweight/deficient/mask"].T.astype(bool)
    new = reweighted_edges(golden["reweight/deficient/w"].T, mask, inputs.T @ inputs)
    np.testing.assert_allclose(new, golden["reweight/deficient/out"].T * mask, rtol=1e-7, atol=1e-9)


def test_masks_of_another_network():
    with pytest.raises(ConfigError, match="same network"):
        reweighted_edges(np.ones((2, 3)), np.ones((2, 4), bool), np.eye(3))
