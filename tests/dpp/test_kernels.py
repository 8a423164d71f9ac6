import numpy as np

from tfprune.dpp import edge_kernels, gram, node_kernel, rbf_edge_kernel, rbf_node_kernel


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
