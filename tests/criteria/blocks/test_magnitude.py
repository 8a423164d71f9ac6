import keras
import numpy as np
import pytest

from tfprune.criteria import BlockL1, RandomBlocks
from tfprune.errors import ConfigError
from tfprune.graph import residual_blocks


@pytest.fixture(scope="module")
def model():
    inputs = x = keras.Input((2,))
    for number in range(3):
        y = keras.layers.LayerNormalization()(x)
        y = keras.layers.Dense(3, name=f"up{number}", bias_initializer="ones")(y)
        x = keras.layers.Add()([x, keras.layers.Dense(2, name=f"down{number}")(y)])
    model = keras.Model(inputs, x)
    for number in range(3):
        model.get_layer(f"up{number}").kernel.assign(np.full((2, 3), -number))
        model.get_layer(f"down{number}").kernel.assign(np.full((3, 2), 0.5))
    return model


def test_l1_sums_absolute_kernels(model):
    np.testing.assert_allclose(BlockL1().scores(model, residual_blocks(model)), [3, 6 + 3, 12 + 3])


def test_random_scores_follow_from_the_seed(model):
    blocks = residual_blocks(model)
    one, again, other = (RandomBlocks(seed).scores(model, blocks) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert len(set(one) | set(other)) == 6
    with pytest.raises(ConfigError, match="seed: expected a whole number"):
        RandomBlocks(-1)
