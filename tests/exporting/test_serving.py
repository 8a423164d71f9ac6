"""Files of all formats infer: what is random in training is not when they run."""

import warnings

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.exporting import export

LAYERS = keras.layers
RANDOM = {
    "flip": [LAYERS.RandomFlip()],
    "geometry": [LAYERS.RandomRotation(0.3), LAYERS.RandomZoom(0.3), LAYERS.RandomTranslation(0.2, 0.2)],
    "colors": [LAYERS.RandomContrast(0.5), LAYERS.RandomBrightness(0.5), LAYERS.RandomInvert(1.0, (0, 255))],
    "erasing": [LAYERS.RandomErasing(1.0)],
    "noise": [LAYERS.GaussianNoise(1.0), LAYERS.Dropout(0.5), LAYERS.GaussianDropout(0.5)],
    "nested": [keras.Sequential([keras.Sequential([LAYERS.RandomFlip(), LAYERS.RandomRotation(0.3)])])],
}
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 12, 12, 1)).astype(np.float32)


def served(model, folder):
    loaded = tf.saved_model.load(export(model, folder / "model"))
    return lambda images: np.asarray(loaded.serve(images))


def in_onnx(model, folder):
    session = onnxruntime.InferenceSession(export(model, folder / "model.onnx"))
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def in_litert(model, folder):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(export(model, folder / "model.tflite")))
    (detail,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(detail["index"], IMAGES.shape)
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    return lambda images: runner(**{name: images})["output_0"]


@pytest.mark.parametrize("write", [served, in_onnx, in_litert])
@pytest.mark.parametrize("name", RANDOM)
def test_nothing_is_random(tmp_path, name, write):
    keras.utils.set_random_seed(0)
    rest = [LAYERS.Rescaling(1 / 255), LAYERS.Conv2D(4, 3), LAYERS.Flatten(), LAYERS.Dense(3)]
    model = keras.Sequential([keras.Input((12, 12, 1)), *RANDOM[name], *rest])
    expected = model.predict(IMAGES, verbose=0)
    assert max(np.abs(expected - model(IMAGES, training=True)).max() for _ in range(20)) > 1e-3
    call = write(model, tmp_path)
    for _ in range(2):
        np.testing.assert_allclose(call(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_layers_that_are_told_to_train_do_as_in_predict(tmp_path):
    class AlwaysDropout(LAYERS.Dropout):
        def call(self, inputs, training=None):
            return super().call(inputs, training=True)

    inputs = keras.Input((50,))
    told = keras.Model(inputs, LAYERS.Dropout(0.5)(inputs, training=True))
    always = keras.Model(inputs, AlwaysDropout(0.5)(inputs))
    ones = np.ones((2, 50), np.float32)
    for model, expected in ((told, {1}), (always, {0, 2})):
        assert set(model.predict(ones, verbose=0).ravel()) == expected
        assert set(served(model, tmp_path)(ones).ravel()) == expected


def test_states_are_kept_between_calls_of_a_saved_model(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(batch_shape=(2, 4, 3)), LAYERS.GRU(3, stateful=True)])
    call = served(model, tmp_path)
    steps = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    expected = [model.predict(steps, verbose=0) for _ in range(2)]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for each in expected:
        np.testing.assert_allclose(call(steps), each, rtol=1e-5, atol=1e-6)


def test_a_layer_that_fails_on_open_sizes_is_one_line(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), LAYERS.UpSampling2D(interpolation="bilinear")])
    with pytest.raises(UnsupportedLayerError, match=r"a SavedModel can express, .*; give the inputs fixed") as e:
        export(model, tmp_path / "model")
    assert "\n" not in str(e.value)
    assert not any(tmp_path.iterdir())


def test_layers_of_whole_numbers_stay_so(tmp_path):
    hashing = LAYERS.Hashing(1000)
    model = keras.Sequential([keras.Input((2,), dtype="int64"), hashing, LAYERS.Embedding(1000, 3)])
    words = np.array([[2**40 + 1, 2**40]])
    np.testing.assert_array_equal(served(model, tmp_path)(words), model.predict(words, verbose=0))


@pytest.mark.parametrize("name", ["model.keras", "model.tflite", "model.onnx", "model"])
def test_models_that_keras_has_quantized(tmp_path, name):
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(8, name="first"), LAYERS.Dense(2, name="second")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of layers without weights
        model.quantize("int8")
    with pytest.raises(UnsupportedLayerError, match="Keras has quantized: first, second; prune, convert and export"):
        export(model, tmp_path / name)
    assert not any(tmp_path.iterdir())
