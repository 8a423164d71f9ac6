import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.optimizers import Adam

# One column with gradients far below epsilon, one beside it, one far above.
SIZES = np.float32([1e-10, 1e-8, 1e-4, 1.0])


def steps(seed=0, count=6):
    random = np.random.default_rng(seed)
    return [(random.normal(size=(5, 4)) * SIZES).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("compiled", [pytest.param(False, marks=pytest.mark.slow), True])
def test_steps_of_torch(compiled):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Parameter(torch.ones(5, 4))
    other = torch.optim.Adam([theirs], lr=0.03, betas=(0.8, 0.95))
    ours = keras.Variable(np.ones((5, 4), np.float32))
    optimizer = Adam(0.03, beta_1=0.8, beta_2=0.95)
    optimizer.build([ours])
    apply = tf.function(lambda gradient: optimizer.apply([gradient])) if compiled else lambda g: optimizer.apply([g])
    for gradient in steps():
        theirs.grad = torch.tensor(gradient)
        other.step()
        apply(tf.constant(gradient))
        np.testing.assert_allclose(ours, theirs.detach(), rtol=0, atol=3e-6)


def test_it_is_not_keras_own_where_gradients_are_small():
    changes = []
    for kind in (Adam, keras.optimizers.Adam):
        variable = keras.Variable(np.zeros((5, 4), np.float32))
        optimizer = kind(0.03, epsilon=1e-8)
        optimizer.build([variable])
        optimizer.apply([tf.constant(steps()[0])])
        changes.append(np.abs(np.asarray(variable)).mean(0))
    np.testing.assert_allclose(changes[0][3], changes[1][3], rtol=1e-5)
    assert changes[0][1] > 5 * changes[1][1]


def test_from_its_settings():
    again = keras.optimizers.deserialize(keras.optimizers.serialize(Adam(0.5, clipvalue=1.0)))
    assert isinstance(again, Adam)
    assert (again.epsilon, again.clipvalue) == (1e-8, 1.0)
    with pytest.raises(ValueError, match="amsgrad: expected False"):
        Adam(amsgrad=True)
