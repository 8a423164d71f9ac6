import numpy as np
import pytest

from tfprune.dpp import Alignment, Committee, expected_products, generalization_error, random_edges_error
from tfprune.errors import ConfigError


@pytest.fixture
def networks(golden):
    teacher = Committee(golden["teacher/w1"].astype(float), golden["teacher/w2"][0].astype(float))
    student = Committee(golden["student/w1"].astype(float), golden["student/w2"][0].astype(float))
    return student, teacher


def test_errors_of_the_original_student(golden, networks):
    student, teacher = networks
    assert generalization_error(student, teacher) == pytest.approx(float(golden["eg/raw_student"]), rel=1e-9)
    normalised = student.normalized()
    np.testing.assert_allclose(normalised.weights, golden["student/w1_normalised"], rtol=1e-6)
    assert generalization_error(normalised, teacher) == pytest.approx(float(golden["eg/normalised_student"]), rel=1e-5)


def test_predictions_of_the_original_student(golden, networks):
    student, teacher = networks
    inputs = golden["data/inputs"].T
    np.testing.assert_allclose(teacher.predict(inputs), golden["data/labels"], rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(student.predict(inputs[:10]), golden["student/out10"], rtol=2e-5, atol=1e-5)


def test_random_cuts_of_a_perfect_student(golden):
    found = [random_edges_error(c, 2, 3, 4.0) for c in golden["calc_acc/c"]]
    np.testing.assert_allclose(found, golden["calc_acc/err_M2_z3_v4"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second"), [("erf", "erf"), ("relu", "relu"), ("sigmoid", "sigmoid"), ("erf", "sigmoid"), ("relu", "erf")]
)
def test_theory_agrees_with_simulation(first, second):
    rng = np.random.default_rng(3)
    student = Committee(rng.standard_normal((4, 30)), rng.standard_normal(4), first)
    teacher = Committee(rng.standard_normal((2, 30)), rng.standard_normal(2), second)
    inputs = rng.standard_normal((100_000, 30))
    halves = (student.predict(inputs) - teacher.predict(inputs) - 0.3 * rng.standard_normal(len(inputs))) ** 2 / 2
    theory = generalization_error(student, teacher, noise=0.3)
    assert abs(theory - halves.mean()) < 4 * halves.std() / np.sqrt(len(halves))
    assert halves.std() / np.sqrt(len(halves)) < 0.01 * theory


def test_quadrature_agrees_with_closed_forms(monkeypatch):
    variances, covariances = np.array([1.0, 0.5, 0.0]), np.array([[1.0, 0.3, 0], [0.3, 0.5, 0], [0, 0, 0]])
    from tfprune.dpp.theory import _quadrature, activation

    g = activation("erf")
    a, b = np.broadcast_arrays(variances[:, None], variances)
    np.testing.assert_allclose(
        _quadrature(g, g, a, b, covariances),
        expected_products("erf", "erf", covariances, variances, variances),
        atol=1e-9,
    )


def test_different_input_sizes():
    with pytest.raises(ConfigError, match="same input size, received 4 and 5"):
        generalization_error(Committee(np.ones((2, 4)), np.ones(2)), Committee(np.ones((2, 5)), np.ones(2)))


def test_groups_of_the_original(golden):
    r, q = golden["order/unpruned/R"], golden["order/unpruned/Q"]
    alignment = Alignment.from_overlaps(r)
    assert alignment.converged
    assert alignment.warning() is None
    np.testing.assert_allclose(np.abs(r[alignment.order]), np.abs(golden["align/unpruned_R_dash"]), rtol=1e-6)
    found = q[np.ix_(alignment.order, alignment.order)]
    np.testing.assert_allclose(np.abs(found), np.abs(golden["align/unpruned_Q_dash"]), rtol=1e-6)


def test_an_unconverged_student_is_said_to_be_one():
    alignment = Alignment.from_overlaps(np.array([[0.9, 0.1], [0.8, 0.3], [0.75, 0.2], [0.0, 0.1]]))
    assert sorted(alignment.order.tolist()) == [0, 1, 2, 3]
    assert np.bincount(alignment.teacher).tolist() == [2, 2]
    assert not alignment.converged
    assert "2 of 4" in alignment.warning()


def test_more_teachers_than_students():
    assert Alignment.from_overlaps(np.array([[0.1, 0.9, 0.2]])).teacher.tolist() == [1]
