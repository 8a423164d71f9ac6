import numpy as np

from tfprune.dpp import Alignment


def test_groups_of_the_original(golden):
    r, q = golden["order/unpruned/R"], golden["order/unpruned/Q"]
    alignment = Alignment.of(r)
    assert alignment.converged
    assert alignment.warning() is None
    np.testing.assert_allclose(np.abs(r[alignment.order]), np.abs(golden["align/unpruned_R_dash"]), rtol=1e-6)
    found = q[np.ix_(alignment.order, alignment.order)]
    np.testing.assert_allclose(np.abs(found), np.abs(golden["align/unpruned_Q_dash"]), rtol=1e-6)


def test_an_unconverged_student_is_said_to_be_one():
    alignment = Alignment.of(np.array([[0.9, 0.1], [0.8, 0.3], [0.75, 0.2], [0.0, 0.1]]))
    assert sorted(alignment.order.tolist()) == [0, 1, 2, 3]
    assert np.bincount(alignment.teacher).tolist() == [2, 2]
    assert not alignment.converged
    assert "2 of 4" in alignment.warning()


def test_more_teachers_than_students():
    assert Alignment.of(np.array([[0.1, 0.9, 0.2]])).teacher.tolist() == [1]
