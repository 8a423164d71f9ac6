import numpy as np
import pytest

from tfprune.dpp import (
    KDPP,
    LEnsemble,
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


EYE = np.eye(3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gram(np.full((4, 3), np.nan)), "inputs: expected finite numbers, received 12 of 12"),
        (lambda: gram(np.zeros((0, 3))), r"inputs: expected examples .* received \[0, 3\]"),
        (lambda: gram([["a"]]), "inputs: expected real numbers"),
        (lambda: node_kernel(EYE, EYE * [1, np.inf, 1] + 0), "second moments: expected finite numbers"),
        (lambda: node_kernel(EYE[0], EYE), r"weights: expected an array \[nodes, features\], received shape \[3\]"),
        (lambda: edge_kernels(EYE, np.eye(2)), r"expected second moments of shape \(3, 3\)"),
        (lambda: rbf_node_kernel(np.full((2, 3), np.nan), EYE, 1.0), "weights: expected finite numbers"),
        (lambda: rbf_edge_kernel([1.0, np.nan, 1.0], EYE, 1.0), r"weights: .* the first at \[1\]: nan"),
        (lambda: reweighted_readers([1.0, np.nan, 1.0], [True] * 3, EYE), "outgoing: expected finite numbers"),
        (lambda: KDPP(np.array([[None]]), 1), "kernel: expected real numbers, received ndarray of type object"),
        (lambda: KDPP(EYE * 1j, 1), "kernel: expected real numbers"),
        (lambda: LEnsemble([[1.0, 2.0], [3.0]]), "kernel: expected an array of numbers"),
    ],
)
def test_what_is_no_matrix_of_finite_numbers(call, said):
    with np.errstate(invalid="ignore"), pytest.raises(ConfigError, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)
