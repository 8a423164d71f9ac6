import keras
import numpy as np
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.exporting import plain_model, save_model
from tfprune.graph import ModelClassWarning, convert


def test_keeps_names_and_weights(residual):
    plain = plain_model(convert(residual, "fused"))
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in residual.layers]
    assert [layer.name for layer in plain.layers] == [layer.name for layer in residual.layers]
    for received, expected in zip(plain.variables, residual.variables, strict=True):
        np.testing.assert_array_equal(received, expected)


def test_computes_the_same_without_our_layers(network, inputs_for, outputs_of):
    plain = plain_model(network)
    assert not any(type(layer).__module__.startswith("tfprune") for layer in plain._flatten_layers())
    inputs = inputs_for(network)
    expected = outputs_of(network, inputs)
    for name, received in outputs_of(plain, inputs).items():
        np.testing.assert_allclose(received, expected[name], rtol=1e-5, atol=1e-5)


def test_layers_within_layers_are_float32():
    inputs = keras.Input((6, 4))
    inner = keras.layers.Dense(3, dtype="mixed_bfloat16")
    model = keras.Model(inputs, keras.layers.TimeDistributed(inner, dtype="mixed_bfloat16")(inputs))
    plain = plain_model(model)
    assert {layer.compute_dtype for layer in plain._flatten_layers()} == {"float32"}
    x = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(plain(x), x @ inner.kernel.numpy() + inner.bias.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["channel_masked", "gated"])
@pytest.mark.parametrize("nested", [False, True])
def test_masks_and_gates_are_refused(residual, family, nested):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, residual(inputs)) if nested else residual
    with pytest.raises(
        UnsupportedLayerError, match=r"received .*(conv \(ChannelMaskedConv2D\)|bn \(Scored).*; slim the model"
    ):
        plain_model(convert(model, family))


def test_a_model_without_a_graph_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(UnsupportedLayerError, match="expected a functional or sequential model"):
        plain_model(Own())


def test_only_files_of_keras_warn_of_a_lost_class(tmp_path, recwarn):
    class Own(keras.Model):
        def __init__(self):
            inputs = keras.Input((4,))
            super().__init__(inputs, keras.layers.Dense(2)(inputs))

    model = Own()
    plain_model(model)
    assert not recwarn.list
    with pytest.warns(ModelClassWarning, match="own"):
        save_model(model, tmp_path / "own.keras")
