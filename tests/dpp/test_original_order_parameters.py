"""Order parameters and errors under the original's masks, all of them."""

from itertools import combinations

import numpy as np
import pytest

from tfprune.dpp import Alignment, Committee, OrderParameters, generalization_error

NODES = [f"dpp_node_{k}" for k in range(1, 6)]
IMPORTANCE = [f"importance_edge_{k}" for k in (8, 16, 25, 33, 41)] + [f"importance_node_{k}" for k in range(1, 6)]
RANDOM = ["dpp_edge_25", "random_edge_25", "random_node_3"]


@pytest.fixture(scope="module")
def teacher(golden):
    return Committee(golden["teacher/w1"].astype(float), golden["teacher/w2"][0].astype(float))


@pytest.fixture(scope="module")
def student(golden):
    return Committee(golden["student/w1_normalised"].astype(float), golden["student/w2"][0].astype(float))


def _nodes(sets):
    return [np.repeat(np.isin(np.arange(6), row)[:, None], 50, 1) for row in sets]


def _masks(golden, name, student, teacher):
    if name.startswith("importance"):
        return [golden[f"masks/{name}"].T.astype(bool)]
    if name.startswith("random"):
        bits = np.unpackbits(golden[f"masks/{name}_bits"]).reshape(100, 50, 6)
        return list(bits.transpose(0, 2, 1).astype(bool))
    if name == "dpp_edge_25":
        chosen = golden["masks/dpp_edge_k25_f64_seed0"]
        return [np.stack([np.isin(np.arange(50), row) for row in chosen[:, draw]]) for draw in range(20)]
    if name == "dpp_node_3":
        return _nodes(golden["masks/dpp_node_k3_seed0"])
    # Of the other numbers of nodes only the errors are recorded, which tell the sets from one another.
    sets = list(combinations(range(6), int(name[-1])))
    errors = np.array([generalization_error(student.masked(mask), teacher) for mask in _nodes(sets)])
    return _nodes([sets[np.abs(errors - error).argmin()] for error in golden[f"eg/{name}/per_mask"]])


@pytest.mark.parametrize("name", NODES + IMPORTANCE + RANDOM)
def test_order_parameters_and_errors(golden, student, teacher, name):
    pruned = [student.masked(mask) for mask in _masks(golden, name, student, teacher)]
    errors = [generalization_error(each, teacher) for each in pruned]
    np.testing.assert_allclose(errors, golden[f"eg/{name}/per_mask"], rtol=1e-6)
    assert np.mean(errors) == pytest.approx(float(golden[f"eg/{name}/mean"]), rel=1e-6)
    order = [OrderParameters.from_committees(each, teacher) for each in pruned]
    q, r = np.mean([each.q for each in order], 0), np.mean([each.r for each in order], 0)
    np.testing.assert_allclose(q, golden[f"order/{name}/Q"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(r, golden[f"order/{name}/R"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(order[0].t, golden["order/T"], rtol=1e-6)


@pytest.mark.parametrize("name", NODES + RANDOM)
def test_errors_of_mean_order_parameters(golden, student, teacher, name):
    """Networks that have the recorded mean overlaps, in a space of just as many inputs as there are nodes."""
    overlaps = [golden[f"order/{name}/{letter}"] for letter in "QR"]
    size = student.hidden + teacher.hidden
    whole = np.block([[overlaps[0], overlaps[1]], [overlaps[1].T, golden["order/T"].astype(float)]])
    values, vectors = np.linalg.eigh(whole * size)
    assert values.min() > -1e-4
    rows = vectors * np.sqrt(np.maximum(values, 0))
    pair = (Committee(rows[:6], student.outgoing), Committee(rows[6:], teacher.outgoing))
    assert generalization_error(*pair) == pytest.approx(float(golden[f"eg/{name}/of_mean_order"]), rel=1e-5)


def test_alignment_of_pruned_students(golden):
    alignment = Alignment.from_overlaps(golden["order/unpruned/R"])
    groups = [sorted(alignment.order[alignment.teacher == teacher].tolist()) for teacher in range(2)]
    assert str(groups) == str(golden["align/groups"])
    q, r = golden["order/dpp_node_3/Q"], golden["order/dpp_node_3/R"]
    np.testing.assert_allclose(np.abs(r[alignment.order]), np.abs(golden["align/expected_R_dash"]), rtol=1e-6)
    aligned = q[np.ix_(alignment.order, alignment.order)]
    np.testing.assert_allclose(np.abs(aligned), np.abs(golden["align/expected_Q_dash"]), rtol=1e-6)
