import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.exporting import export_tflite
from tfprune.exporting.tflite import EXAMPLES, calibration_batches
from tfprune.recipes.data import load_data

IMAGES = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
LABELS = np.arange(5)


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


@pytest.fixture(scope="module")
def one():
    inputs = keras.Input((None, 3), name="image")
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


@pytest.fixture(scope="module")
def two():
    inputs = [keras.Input((3,), name="zoom"), keras.Input((1,), dtype="int32", name="ask")]
    return keras.Model(inputs, keras.layers.Concatenate()(inputs))


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize(
    "data",
    [
        IMAGES,
        [IMAGES],
        (IMAGES,),
        (IMAGES, LABELS),
        (IMAGES, LABELS, LABELS),
        {"image": IMAGES},
        {"image": IMAGES, "other": LABELS},
        {"images": IMAGES, "labels": LABELS},
        IMAGES.astype(np.uint8),
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(2),
        tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(2),
        tf.data.Dataset.from_tensor_slices({"images": IMAGES, "labels": LABELS}).batch(2),
    ],
)
def test_every_kind_of_data(one, data):
    received = joined(calibration_batches(one, data))
    assert list(received) == ["image"]
    assert received["image"].dtype == np.float32
    np.testing.assert_array_equal(received["image"], IMAGES)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple", "dataset", "dataset of dicts"])
def test_several_inputs(two, kind):
    zoom, ask = np.ones((5, 3), np.float32), np.arange(5)[:, None]
    named = {"ask": ask, "zoom": zoom}
    data = {
        "list": [zoom, ask],
        "dict": named,
        "tuple": ((zoom, ask), LABELS),
        "dataset": tf.data.Dataset.from_tensor_slices(((zoom, ask), LABELS)).batch(2),
        "dataset of dicts": tf.data.Dataset.from_tensor_slices((named, LABELS)).batch(2),
    }[kind]
    received = joined(calibration_batches(two, data))
    np.testing.assert_array_equal(received["zoom"], zoom)
    np.testing.assert_array_equal(received["ask"], ask)
    assert received["ask"].dtype == np.int32


def test_arrays_are_sampled_from_end_to_end(one):
    many = np.zeros((3 * EXAMPLES, 1, 3)) + np.arange(3 * EXAMPLES)[:, None, None]
    received = joined(calibration_batches(one, many))["image"][:, 0, 0]
    assert len(received) == EXAMPLES
    assert received[0] == 0
    assert received[-1] == 3 * EXAMPLES - 1
    assert set(np.diff(received)) == {3, 4}


def test_an_endless_dataset_is_cut(one):
    endless = tf.data.Dataset.from_tensors(np.zeros((1, 3), np.float32)).repeat().batch(EXAMPLES - 1)
    assert [len(batch["image"]) for batch in calibration_batches(one, endless)] == [EXAMPLES - 1, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "received none; pass data="),
        (IMAGES[:0], "at least one example"),
        (tf.data.Dataset.from_tensor_slices(IMAGES[:0]).batch(2), "at least one example"),
        ([IMAGES, IMAGES], r"for 1 inputs \(image\), received 2"),
        ({"picture": IMAGES}, "for the inputs image, received picture; add image"),
        (IMAGES[..., :2], r"shape \[examples, any, 3\] for the input image, received \[5, 2, 2\]"),
        (tf.data.Dataset.from_tensor_slices(IMAGES), r"received \[2, 3\]; give batches"),
    ],
)
def test_unfit_data(one, data, message):
    with pytest.raises(ConfigError, match=message):
        calibration_batches(one, data)
