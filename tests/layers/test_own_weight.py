"""A layer that holds a single weight."""

import keras
import numpy as np
import pytest

from tfprune.layers import OwnWeight


@pytest.mark.parametrize(("dtype", "made"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")])
def test_it_returns_its_weight_whatever_it_is_called_with(dtype, made, tmp_path):
    inputs = keras.Input((3,))
    layer = OwnWeight((2, 3), dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    assert (model.output.shape, model.output.dtype) == ((2, 3), made)
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    layer.weight.assign(value)
    for examples in (1, 4):
        np.testing.assert_array_equal(np.float32(layer(np.ones((examples, 3)))), value)
    assert layer.weight.dtype == "float32"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.layers[1].weight, value)


def test_whole_numbers_stay_whole():
    layer = OwnWeight((2,), "int32", trainable=False)
    assert layer(np.ones((1, 3))).dtype == "int32"
    assert not layer.trainable_weights
