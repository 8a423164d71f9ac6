import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting import export_tflite
from tfprune.recipes.data import load_data


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def trained(digits):
    """A small network with batch norms, trained until it is right nine times out of ten."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input(digits.input_shape)]
    for width, stride in ((16, 1), (32, 2)):
        convolution = keras.layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)
        layers += [convolution, keras.layers.BatchNormalization(momentum=0.8), keras.layers.ReLU()]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    model.fit(digits.normalize(digits.train_images), digits.train_labels, batch_size=64, epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def images(digits):
    return digits.normalize(digits.test_images)


def logits(read_tflite, path, model, images):
    return read_tflite(path)({model.inputs[0]._keras_history.operation.name: images})["output_0"]


def test_float_computes_the_same(tmp_path, network, inputs_for, outputs_of, read_tflite):
    export_tflite(network, tmp_path / "model.tflite")
    call = read_tflite(tmp_path / "model.tflite")
    for examples in (1, 4):
        inputs = inputs_for(network, examples)
        expected, received = outputs_of(network, inputs), call(inputs)
        assert set(received) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(received[name], value, rtol=1e-5, atol=1e-5)


# Measured on logits with a standard deviation of 4.9: root mean square differences of 0.0007, 0.016 and 0.040, files of
# 57 %, 34 % and 36 %, and 0, 1 and 1 of 360 decisions changed.
@pytest.mark.parametrize(
    ("quantize", "bound", "size"), [("float16", 0.002, 0.65), ("dynamic", 0.04, 0.45), ("int8", 0.1, 0.45)]
)
def test_quantized_agrees_on_real_images(tmp_path, trained, digits, images, read_tflite, quantize, bound, size):
    expected = trained(images, training=False).numpy()
    assert np.mean(expected.argmax(1) == digits.test_labels) > 0.9
    data = (digits.normalize(digits.train_images), digits.train_labels) if quantize == "int8" else None
    export_tflite(trained, tmp_path / "small.tflite", quantize=quantize, data=data)
    received = logits(read_tflite, tmp_path / "small.tflite", trained, images)
    assert received.dtype == np.float32
    assert 0 < np.sqrt(np.mean((received - expected) ** 2)) < bound
    assert np.mean(received.argmax(1) == expected.argmax(1)) >= 0.99
    export_tflite(trained, tmp_path / "float.tflite")
    assert (tmp_path / "small.tflite").stat().st_size < size * (tmp_path / "float.tflite").stat().st_size


def test_int8_arithmetic_is_int8_throughout(tmp_path, trained, images, read_tflite):
    from ai_edge_litert.interpreter import Interpreter

    dataset = tf.data.Dataset.from_tensor_slices(images).batch(50)
    export_tflite(trained, tmp_path / "model.tflite", quantize="int8", data=dataset, float_io=False)
    interpreter = Interpreter(str(tmp_path / "model.tflite"))
    assert {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()} <= {"int8", "int32"}
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = source["quantization"]
    whole = np.clip(np.round(images / scale + zero), -128, 127).astype(np.int8)
    scale, zero = target["quantization"]
    received = (logits(read_tflite, tmp_path / "model.tflite", trained, whole).astype(np.float32) - zero) * scale
    assert np.abs(received - trained(images, training=False)).max() < 0.3  # measured: 0.11


def test_ranges_are_those_of_the_data(tmp_path, trained, images):
    from ai_edge_litert.interpreter import Interpreter

    export_tflite(trained, tmp_path / "model.tflite", quantize="int8", data=images, float_io=False)
    (source,) = Interpreter(str(tmp_path / "model.tflite")).get_input_details()
    assert source["quantization"][0] == pytest.approx((images.max() - images.min()) / 255, rel=1e-5)


def test_int8_with_several_inputs(tmp_path, two_inputs, inputs_for, outputs_of, read_tflite):
    inputs = inputs_for(two_inputs, 16)
    export_tflite(two_inputs, tmp_path / "model.tflite", quantize="int8", data=inputs)
    received, expected = read_tflite(tmp_path / "model.tflite")(inputs), outputs_of(two_inputs, inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(received[name], value, atol=0.015)  # measured: 0.005


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "expected quantize out of float16, dynamic, int8; received 'int4'"),
        ({"quantize": "int8"}, "expected examples to calibrate int8 with, received none"),
        ({"quantize": "dynamic", "data": np.ones(3)}, "only with quantize='int8', received quantize='dynamic'"),
        ({"float_io": False}, "only with quantize='int8'"),
    ],
)
def test_wrong_settings(tmp_path, two_inputs, options, message):
    with pytest.raises(ConfigError, match=message):
        export_tflite(two_inputs, tmp_path / "model.tflite", **options)
    with pytest.raises(ConfigError, match=r"ends in \.tflite"):
        export_tflite(two_inputs, tmp_path / "model.bin")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_operations_without_a_kernel_are_named(tmp_path, quantize, capfd):
    inputs = keras.Input((2, 2))
    model = keras.Model(inputs, keras.ops.cholesky(inputs))
    data = np.eye(2, dtype=np.float32)[None] if quantize else None
    with pytest.raises(UnsupportedLayerError, match="received Cholesky; export to another format") as caught:
        export_tflite(model, tmp_path / "model.tflite", quantize=quantize, data=data)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert not any(tmp_path.iterdir())


def close(received, expected):
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def sequence(*layers, shape=(8, 5), dtype=None):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input(shape, dtype=dtype, name="steps")
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def translator():
    """Two recurrent layers, the second of which starts with the states of the first."""
    keras.utils.set_random_seed(0)
    source, target = keras.Input((7, 5), name="source"), keras.Input((6, 4), name="target")
    _, *states = keras.layers.LSTM(8, return_state=True)(source)
    outputs = keras.layers.LSTM(8, return_sequences=True)(target, initial_state=states)
    return keras.Model([source, target], keras.layers.Dense(3)(outputs))


def unet():
    """A network that makes images smaller, then larger, with residual branches around it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3), name="image")
    x = side = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(keras.layers.SeparableConv2D(8, 3, padding="same")(x))
    x = keras.layers.Add()([x, keras.layers.Conv2D(8, 1, strides=2, padding="same")(side)])
    for width in (8, 4):
        up = keras.layers.UpSampling2D(2)(x)
        x = keras.layers.BatchNormalization()(keras.layers.Conv2DTranspose(width, 3, padding="same")(x))
        x = keras.layers.Add()([keras.layers.UpSampling2D(2)(x), keras.layers.Conv2D(width, 1)(up)])
    return keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same", activation="softmax")(x))


LAYERS = keras.layers
FIXED = {
    "lstm": lambda: sequence(LAYERS.LSTM(6), LAYERS.Dense(3)),
    "gru": lambda: sequence(LAYERS.GRU(6, reset_after=False), LAYERS.Dense(3)),
    "simple": lambda: sequence(LAYERS.SimpleRNN(6, return_sequences=True)),
    "backwards": lambda: sequence(LAYERS.LSTM(6, go_backwards=True)),
    "both ways": lambda: sequence(LAYERS.Bidirectional(LAYERS.LSTM(4, return_sequences=True)), LAYERS.GRU(3)),
    "cells": lambda: sequence(LAYERS.RNN([LAYERS.LSTMCell(4), LAYERS.GRUCell(3)])),
    "words": lambda: sequence(LAYERS.Embedding(9, 4, mask_zero=True), LAYERS.GRU(5), shape=(7,), dtype="int32"),
    "masked": lambda: sequence(LAYERS.Masking(), LAYERS.LSTM(5)),
    "any length": lambda: sequence(LAYERS.LSTM(5), shape=(None, 5)),
    "images": lambda: sequence(LAYERS.ConvLSTM2D(3, 3, padding="same"), shape=(4, 6, 6, 2)),
    "translator": translator,
    "unet": unet,
}


def examples_of(model, count, length=7):
    rng = np.random.default_rng(0)
    found = {}
    for tensor in model.inputs:
        shape = (count, *(length if size is None else size for size in tensor.shape[1:]))
        whole = tensor.dtype == "int32"
        found[tensor._keras_history.operation.name] = (
            rng.integers(9, size=shape).astype("int32") if whole else rng.normal(size=shape).astype("float32")
        )
    for array in found.values():
        for row in range(count):
            array[row, 4 + row % 5 :] = 0  # masked, where there is a mask
    return found


@pytest.mark.parametrize("name", FIXED)
def test_models_that_need_a_fixed_batch_take_one_example(tmp_path, name, read_tflite, outputs_of):
    model = FIXED[name]()
    with pytest.warns(UserWarning, match="model.tflite takes batches of 1, as LiteRT cannot leave their size open"):
        export_tflite(model, tmp_path / "model.tflite")
    for row in range(2):
        inputs = {key: array[row : row + 1] for key, array in examples_of(model, 2).items()}
        close(read_tflite(tmp_path / "model.tflite")(inputs)["output_0"], outputs_of(model, inputs)["output_0"])


def test_the_batch_size_is_a_choice(tmp_path, read_tflite, outputs_of):
    model = FIXED["lstm"]()
    export_tflite(model, tmp_path / "model.tflite", batch_size=3)
    inputs = examples_of(model, 3)
    close(read_tflite(tmp_path / "model.tflite")(inputs)["output_0"], outputs_of(model, inputs)["output_0"])
    for size in (0, -1, 1.5, "2"):
        with pytest.raises(ConfigError, match="expected a batch_size of at least 1, received"):
            export_tflite(model, tmp_path / "model.tflite", batch_size=size)


def test_the_batch_size_of_the_model_is_kept_and_so_are_states(tmp_path, read_tflite):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(batch_shape=(2, 8, 5), name="steps"), LAYERS.LSTM(4, stateful=True)])
    export_tflite(model, tmp_path / "model.tflite")
    call, steps = read_tflite(tmp_path / "model.tflite"), examples_of(model, 2)["steps"]
    expected = [model.predict(steps, verbose=0) for _ in range(2)]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    close(call({"steps": steps})["output_0"], expected[0])


@pytest.mark.parametrize("name", ["lstm", "both ways", "words", "masked", "images", "translator", "unet"])
def test_int8_of_models_with_loops(tmp_path, name, read_tflite, outputs_of):
    model = FIXED[name]()
    examples = examples_of(model, 64)
    data = list(examples.values())
    with pytest.warns(UserWarning, match=r"takes batches of 1"):
        export_tflite(model, tmp_path / "model.tflite", quantize="int8", data=data)
    call = read_tflite(tmp_path / "model.tflite")
    rows = [{key: array[row : row + 1] for key, array in examples.items()} for row in range(16)]
    received = np.concatenate([call(inputs)["output_0"] for inputs in rows])
    expected = np.concatenate([outputs_of(model, inputs)["output_0"] for inputs in rows])
    assert 0 < np.sqrt(np.mean((received - expected) ** 2)) < 0.25 * expected.std()  # measured: 0.02 to 0.2


def test_loops_that_cannot_be_unrolled_have_no_int8(tmp_path):
    class Powers(keras.layers.Layer):
        def call(self, inputs):
            return keras.ops.fori_loop(0, 3, lambda _, x: x * inputs, inputs)

    inputs = keras.Input((4,))
    with pytest.raises(UnsupportedLayerError, match="without loops other than recurrent layers for int8"):
        export_tflite(
            keras.Model(inputs, Powers()(inputs)), tmp_path / "model.tflite", quantize="int8", data=np.ones((4, 4))
        )
    with pytest.raises(UnsupportedLayerError, match=r"Cannot unroll a RNN .*; give the inputs fixed sizes"):
        export_tflite(FIXED["any length"](), tmp_path / "model.tflite", quantize="int8", data=np.ones((4, 7, 5)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: sequence(LAYERS.Conv2DTranspose(4, 3, dilation_rate=2, name="far"), shape=(6, 6, 3)),
            r"LiteRT has, received Conv2DBackpropInput \(in far\); export to another format",
        ),
        (
            lambda: sequence(LAYERS.UpSampling2D(2), LAYERS.Conv2D(4, 3, name="conv"), shape=(None, None, 3)),
            r"received Conv2D \(in conv\), of open sizes; give the inputs fixed sizes",
        ),
        (
            lambda: sequence(LAYERS.UpSampling2D(2, interpolation="bilinear"), shape=(None, None, 3)),
            "a Python `bool` is not allowed; give the inputs fixed sizes, or export to another format",
        ),
        (
            lambda: sequence(
                LAYERS.TextVectorization(vocabulary=["a"]), LAYERS.Embedding(3, 2), shape=(1,), dtype="string"
            ),
            "expected (a model|operations) that LiteRT",
        ),
    ],
)
def test_errors_of_the_converter_are_one_line(tmp_path, model, message, capfd):
    with pytest.raises(UnsupportedLayerError, match=message) as caught:
        export_tflite(model(), tmp_path / "model.tflite")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert capfd.readouterr() == ("", "")
    assert not any(tmp_path.iterdir())
