"""What the original prints when it tests pruned students, and its networks on its test set."""

import numpy as np
import pytest

from tfprune.dpp import Committee, gram
from tfprune.recipes.dpp.evaluation import simulated_error
from tfprune.recipes.dpp.pruning import prune_student


@pytest.fixture(scope="module")
def student(golden):
    return Committee(golden["student/w1_normalised"].astype(float), golden["student/w2"][0].astype(float))


@pytest.fixture(scope="module")
def test_set(golden):
    return golden["data/test_inputs"].T.astype(float), golden["data/test_labels"].astype(float)


@pytest.fixture(scope="module")
def moments(golden):
    return gram(golden["data/inputs"].T)


def _masks(golden, name):
    """The first five, which are all that the original tests."""
    if name.startswith("importance"):
        return golden[f"masks/{name}"].T.astype(bool)[None]
    if name.startswith("random"):
        return np.unpackbits(golden[f"masks/{name}_bits"]).reshape(100, 50, 6).transpose(0, 2, 1).astype(bool)[:5]
    if name == "dpp_node_3":
        kept = (golden["masks/dpp_node_k3_seed0"][:5, :, None] == np.arange(6)).any(axis=1)
        return np.repeat(kept[:, :, None], 50, axis=2)
    return (golden["masks/dpp_edge_k25_f64_seed0"][:, :5, :, None] == np.arange(50)).any(axis=2).transpose(1, 0, 2)


def _errors(golden, student, test_set, moments, name, **kind):
    networks = [prune_student(student, mask, moments, nodes="node" in name, **kind) for mask in _masks(golden, name)]
    return [simulated_error(network, *test_set).mean for network in networks]


@pytest.mark.parametrize(
    "name", ["dpp_node_3", "dpp_edge_25", "random_edge_25", "importance_edge_16", "importance_node_4"]
)
def test_first_mask(golden, student, test_set, moments, name):
    errors = _errors(golden, student, test_set, moments, name, reweight=False)
    assert 2 * errors[0] == pytest.approx(float(golden[f"test/{name}_mask0"]), rel=1e-6)


def test_first_mask_reweighted(golden, student, test_set, moments):
    errors = _errors(golden, student, test_set, moments, "dpp_edge_25", reweight=True)
    assert 2 * errors[0] == pytest.approx(float(golden["test/dpp_edge_25_mask0_reweighted"]), rel=1e-6)


@pytest.mark.parametrize("reweight", [False, True])
@pytest.mark.parametrize("name", ["dpp_node_3", "dpp_edge_25", "random_edge_25"])
def test_what_it_prints(golden, student, test_set, moments, name, reweight):
    """The mean over the first five masks; reweighted nodes with its bug, which leaves cut nodes in."""
    errors = _errors(golden, student, test_set, moments, name, reweight=reweight, quirks=True)
    assert np.mean(errors) == pytest.approx(float(golden[f"test/main_{name}_rwt{int(reweight)}"]), rel=1e-6)
    if reweight and name == "dpp_node_3":
        right = _errors(golden, student, test_set, moments, name, reweight=True)
        assert np.mean(right) < 0.2 * np.mean(errors)


def test_unpruned(golden, student, test_set):
    raw = Committee(golden["student/w1"].astype(float), golden["student/w2"][0].astype(float))
    assert 2 * simulated_error(student, *test_set).mean == pytest.approx(
        float(golden["test/normalised_unpruned"]), rel=1e-6
    )
    assert 2 * simulated_error(raw, *test_set).mean == pytest.approx(float(golden["student/test_loss_raw"]), rel=1e-6)


def test_teachers(golden):
    teacher = Committee(golden["teacher/w1"].astype(float), golden["teacher/w2"][0].astype(float))
    test_inputs = golden["data/test_inputs"].T.astype(float)
    np.testing.assert_allclose(teacher.predict(test_inputs), golden["data/test_labels"], rtol=2e-5, atol=1e-5)
    first = golden["data/inputs"].T[:1].astype(float)
    np.testing.assert_allclose(teacher.predict(first) + 0.25 * 0.7, golden["teacher/predict_noise"], rtol=1e-6)
    soft = Committee(golden["teacher_sc/w1"].astype(float), golden["teacher_sc/w2"][0].astype(float))
    assert soft.outgoing.tolist() == [1, 1, 1]
    noise = golden["teacher_sc/labels"] - soft.predict(golden["teacher_sc/inputs"].T.astype(float))
    assert 0 < np.abs(noise).max() < 4 * 0.25
