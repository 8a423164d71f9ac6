"""ONNX Runtime computes what Keras does, where tf2onnx has no operation, or an unsound one."""

import keras
import numpy as np
import onnxruntime
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.exporting import export_onnx

ops = keras.ops
NUMBERS = np.array([-30, -6, -3, -1, -0.5, -0.49, -1e-3, -1e-7, 0, 1e-7, 1e-3, 0.49, 0.5, 1, 3, 6, 30], np.float32)
FUNCTIONS = {
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "activation": lambda x: keras.layers.Activation("gelu")(x),
    "erfc": ops.erfc,
    "celu": ops.celu,
    "expm1": ops.expm1,
    "log1p": lambda x: ops.log1p(ops.abs(x)),
    "log1p below 0": lambda x: ops.log1p(-ops.sigmoid(x)),
    "logaddexp": lambda x: ops.logaddexp(x, -x),
    "several": lambda x: ops.expm1(ops.tanh(x)) + ops.expm1(-ops.relu(x)) + ops.log1p(ops.relu(x)),
    "chosen infinities": lambda x: ops.softmax(ops.where(x > 0, x, -np.inf)),
    "chosen NaN": ops.sinc,
}


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return session.run(None, {name: inputs})[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(tmp_path, name):
    inputs = keras.Input((len(NUMBERS),))
    model = keras.Model(inputs, FUNCTIONS[name](inputs))
    export_onnx(model, tmp_path / "model.onnx")
    x = np.stack([NUMBERS, NUMBERS[::-1]])
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x), model(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_small_numbers_keep_their_digits(tmp_path, name):
    inputs = keras.Input((3,))
    export_onnx(keras.Model(inputs, getattr(ops, name)(inputs)), tmp_path / "model.onnx")
    x = np.array([[1e-6, -3e-8, 2e-4]], np.float32)
    expected = getattr(np, name)(x.astype(np.float64))
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x), expected, rtol=1e-6)


def test_a_transformer_block(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 8))
    x = keras.layers.LayerNormalization()(inputs)
    x = keras.layers.Add()([inputs, keras.layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)])
    y = keras.layers.Dense(16, activation="gelu")(keras.layers.LayerNormalization()(x))
    model = keras.Model(inputs, keras.layers.Add()([x, keras.layers.Dense(8)(y)]))
    export_onnx(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(3, 6, 8)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x), model(x), rtol=1e-5, atol=1e-5)


def test_grouped_convolutions_and_constants_of_layers(tmp_path):
    keras.utils.set_random_seed(0)
    norm = keras.layers.Normalization(mean=[1.0, 2, 3, 4], variance=[4.0, 3, 2, 1])
    model = keras.Sequential([keras.Input((6, 6, 4)), norm, keras.layers.Conv2D(4, 3, groups=2)])
    export_onnx(model, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([keras.Input((4, 4)), keras.layers.Lambda(lambda x: ops.i0(x))], "received BesselI0"),
        ([keras.Input((None, None, 3)), keras.layers.UpSampling2D(interpolation="bilinear")], "give the inputs fixed"),
        (
            [keras.Input(batch_shape=(2, 4, 3)), keras.layers.GRU(2, stateful=True, name="gru")],
            "a state, .*received gru",
        ),
        (
            [keras.Input((1,), dtype="string"), keras.layers.TextVectorization(vocabulary=["a"])],
            "that ONNX can express",
        ),
    ],
)
def test_what_onnx_cannot_express_is_one_line(tmp_path, layers, message, capfd):
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        export_onnx(keras.Sequential(layers), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not any(tmp_path.iterdir())
