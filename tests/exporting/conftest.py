"""Small networks of every shape that is to be exported, and readers of the files."""

import keras
import numpy as np
import pytest

from tfprune.graph import convert


def _wear(model):
    """Gives a model moving averages and scales that are not the initial ones."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.variables:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def _flat():
    """A residual block."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    stem = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(6, 3, padding="same", name="conv")(inputs))
    x = keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.ReLU()(stem))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 1, use_bias=False)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.Add()([stem, x])))
    return _wear(keras.Model(inputs, keras.layers.Dense(10, name="fc")(x)))


def _nested():
    """A model in a model in a model, one of them sequential and called twice, with our own batch norm."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3), name="features")
    outputs = keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 3, padding="same")(inputs))
    block = keras.Model(inputs, keras.layers.ReLU()(outputs), name="block")
    inputs = keras.Input((8, 8, 3), name="images")
    backbone = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(block(inputs)), name="backbone")
    head = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6, activation="tanh")], name="head")
    inputs = keras.Input((8, 8, 3), name="picture")
    model = keras.Model(inputs, keras.layers.Dense(4)(head(head(backbone(inputs)))))
    return convert(_wear(model), "fused")


def _several():
    """Two inputs whose order is not that of their names, two outputs."""
    keras.utils.set_random_seed(0)
    image, words = keras.Input((8, 8, 1), name="zoom"), keras.Input((5,), dtype="int32", name="ask")
    seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    read = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(7, 4)(words))
    both = keras.layers.Add()([seen, read])
    return keras.Model([image, words], [keras.layers.Dense(3)(both), keras.layers.Dense(2, activation="softmax")(both)])


def _named():
    """Inputs and outputs in dicts."""
    inputs = {"wide": keras.Input((4,), name="wide"), "deep": keras.Input((3,), name="deep")}
    joined = keras.layers.Concatenate()([inputs["wide"], inputs["deep"]])
    return keras.Model(inputs, {"up": keras.layers.Dense(3)(joined), "down": keras.layers.Dense(2)(joined)})


NETWORKS = {"flat": _flat, "nested": _nested, "several": _several, "named": _named}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


@pytest.fixture(scope="module")
def residual():
    return _flat()


@pytest.fixture(scope="module")
def two_inputs():
    return _several()


def input_name(tensor):
    """The name of an input in files, which is that of its layer."""
    return tensor._keras_history.operation.name


@pytest.fixture(scope="session")
def inputs_for():
    """Inputs of a model by name, for a number of examples."""

    def make(model, examples=4):
        rng = np.random.default_rng(0)
        return {
            input_name(tensor): rng.integers(7, size=(examples, *tensor.shape[1:])).astype("int32")
            if tensor.dtype == "int32"
            else rng.normal(size=(examples, *tensor.shape[1:])).astype("float32")
            for tensor in model.inputs
        }

    return make


@pytest.fixture(scope="session")
def outputs_of():
    """What a Keras model computes, by the names that the outputs have in files."""

    def compute(model, inputs):
        arrays = [inputs[input_name(tensor)] for tensor in model.inputs]
        structured = keras.tree.pack_sequence_as(getattr(model, "_inputs_struct", model.input), arrays)
        outputs = model(structured, training=False)
        if isinstance(outputs, dict):
            return {name: np.asarray(value) for name, value in outputs.items()}
        return {f"output_{number}": np.asarray(value) for number, value in enumerate(keras.tree.flatten(outputs))}

    return compute


@pytest.fixture(scope="session")
def read_tflite():
    """The function in a TFLite file: from inputs by name to outputs by name."""
    from ai_edge_litert.interpreter import Interpreter

    def read(path):
        interpreter = Interpreter(str(path), num_threads=1)

        def call(inputs):
            for detail in interpreter.get_input_details():
                name = detail["name"].removeprefix("serving_default_").removesuffix(":0")
                interpreter.resize_tensor_input(detail["index"], inputs[name].shape)
            return interpreter.get_signature_runner()(**inputs)

        return call

    return read
