import keras
import numpy as np
import pytest

from tfprune.cli.accuracy import not_measured
from tfprune.cli.examples import Examples

X = np.zeros((3, 4), np.float32)


def model(*shapes):
    inputs = keras.Input((4,))
    outputs = [keras.layers.Reshape(shape)(keras.layers.Dense(int(np.prod(shape)))(inputs)) for shape in shapes]
    return keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs)


@pytest.mark.parametrize("y", [[0, 1, 2], [[0], [1], [2]], np.eye(3), np.eye(3, dtype=np.int64)])
def test_class_numbers_are_measured(y):
    assert not_measured(model((3,)), Examples(X, np.asarray(y))) == ""


@pytest.mark.parametrize(
    ("shapes", "y", "reason"),
    [
        ([(3,)], None, "there are no labels"),
        ([(1,)], [0, 1, 1], "the model does not return one number for each of several classes"),
        ([(3,), (3,)], [0, 1, 1], "the model does not return one number for each of several classes"),
        ([(3, 2)], [0, 1, 1], "the model does not return one number for each of several classes"),
        ([(3,)], [0.5, 1.5, 1.0], "the labels are no class numbers"),
        ([(3,)], np.zeros((3, 2)), "the labels are no class numbers"),
        ([(3,)], np.zeros((3, 2, 3)), "the labels are no class numbers"),
        ([(3,)], [0, 1, 3], "the labels are not all between 0 and 2"),
        ([(3,)], [-1, 1, 2], "the labels are not all between 0 and 2"),
    ],
)
def test_what_cannot_be_measured(shapes, y, reason):
    assert not_measured(model(*shapes), Examples(X, None if y is None else np.asarray(y))) == reason
