import keras
import numpy as np
import pytest

from tfprune.criteria import BNScale
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.layers import FusedBatchNormalization

layers = keras.layers


@pytest.mark.parametrize("norm", [layers.BatchNormalization, FusedBatchNormalization])
def test_scales_of_two_batch_norms_and_of_none(norm):
    inputs = keras.Input((4,))
    one, two = norm(), norm()
    x = layers.Add()([one(layers.Dense(3)(inputs)), two(layers.Dense(3)(inputs))])
    x = layers.Dense(2, name="plain")(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    one.gamma.assign([1, -2, 0])
    two.gamma.assign([-4, 5, 0.5])
    groups = channel_groups(model)
    np.testing.assert_array_equal(BNScale().scores(model, groups), [2.5, 3.5, 0.25, np.nan, np.nan])
    np.testing.assert_array_equal(BNScale(reduce="sum").scores(model, groups), [5, 7, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(BNScale(reduce="max").scores(model, groups), [4, 5, 0.5, np.nan, np.nan])
    shares = BNScale(reduce="max", normalize="max").scores(model, groups)
    np.testing.assert_array_equal(shares, [0.8, 1, 0.1, np.nan, np.nan])


def test_a_unit_at_several_positions_has_the_mean_of_its_scales():
    inputs = keras.Input((2, 1))
    x = layers.Flatten()(layers.Conv1D(2, 1)(inputs))
    norm = layers.BatchNormalization()
    model = keras.Model(inputs, layers.Dense(1)(norm(x)))
    norm.gamma.assign([1, 2, -3, 4])
    np.testing.assert_array_equal(BNScale().scores(model, channel_groups(model)), [2, 3])


@pytest.mark.parametrize("norm", [layers.LayerNormalization(), layers.BatchNormalization(scale=False)])
def test_without_any_scale_it_is_refused(norm):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(norm(layers.Dense(3)(inputs))))
    with pytest.raises(ConfigError, match="no prunable unit has a batch norm"):
        BNScale().scores(model, channel_groups(model))
