"""The student that the paper's authors released, as far as its numbers are recorded.

Its weights are not among them, so its outputs (`student6/out10`, `student6/out10_normalised`) and the node kernel
between other nodes than the first cannot be recomputed. The first node's row can: its edge kernel has it, up to a sign.
"""

import numpy as np
import pytest

from tfprune.dpp import KDPP, Committee, OrderParameters, dppy_draws, edge_kernels, gram, node_kernel
from tfprune.recipes.dpp.pruning import draw_masks


@pytest.fixture(scope="module")
def moments():
    return gram(np.random.RandomState(9).standard_normal((2000, 500)).astype(np.float32))


@pytest.fixture(scope="module")
def first_row(golden, moments):
    """Magnitudes from the kernel's diagonal, signs from its first row."""
    diagonal, row = golden["student6/edge_kernel0_diag_f32"], golden["student6/edge_kernel0_row0_f32"]
    return np.sqrt(diagonal / np.diagonal(moments)) * np.sign(row * moments[0])


def test_kernels_of_the_first_node(golden, moments, first_row):
    kernel = edge_kernels(first_row[None], moments)[0]
    np.testing.assert_allclose(kernel[0], golden["student6/edge_kernel0_row0_f32"], atol=1e-7)
    found = node_kernel(first_row[None], moments)
    np.testing.assert_allclose(found, golden["student6/node_kernel_f32"][:1, :1], rtol=1e-6)


def test_overlap_of_the_first_node(golden, first_row):
    raw = Committee(first_row[None] * golden["student6/row_norm"][0] / np.sqrt(500), np.ones(1))
    assert OrderParameters.from_committees(raw, raw).q.item() == pytest.approx(golden["student6/raw_Q"][0, 0], rel=1e-6)
    scaled = raw.normalized()
    np.testing.assert_allclose(scaled.weights[0], first_row, rtol=1e-6)
    assert OrderParameters.from_committees(scaled, scaled).q.item() == pytest.approx(
        golden["student6/normalised_Q"][0, 0], rel=1e-6
    )


def test_normalisation_of_all_nodes(golden):
    """Any rows with the recorded overlaps will do."""
    values, vectors = np.linalg.eigh(golden["student6/raw_Q"] * 500)
    rows = np.zeros((6, 500))
    rows[:, :6] = vectors * np.sqrt(values)
    raw = Committee(rows, golden["student6/v"].astype(float))
    np.testing.assert_allclose(np.linalg.norm(raw.weights, axis=1), golden["student6/row_norm"], rtol=1e-6)
    scaled = raw.normalized()
    order = OrderParameters.from_committees(scaled, scaled)
    np.testing.assert_allclose(order.q, golden["student6/normalised_Q"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_laws_of_its_nodes(golden, size):
    found = KDPP(500 * golden["student6/normalised_Q"], size).probabilities()[1][0]
    np.testing.assert_allclose(found, golden[f"student6/node_k{size}_prob_population"], rtol=1e-9)


def test_draws_of_its_nodes(golden):
    found = dppy_draws(golden["student6/node_kernel_f32"], 3, 10, seed=0)[0]
    np.testing.assert_array_equal(np.sort(found, axis=1), golden["student6/masks_node_k3_seed0"])


def test_output_weights_with_their_sign(golden):
    """The original cuts nodes 1 and 0 first, though they matter most and third most."""
    student = Committee(np.ones((6, 500)), golden["student6/v"].astype(float))
    quirky = draw_masks("importance_node", student, np.eye(500), 4, 1, seed=0, original_quirks=True)
    assert quirky[0].any(axis=1).tolist() == [False, False, True, True, True, True]
    ours = draw_masks("importance_node", student, np.eye(500), 3, 1, seed=0)
    assert ours[0].any(axis=1).tolist() == [True, True, True, False, False, False]
