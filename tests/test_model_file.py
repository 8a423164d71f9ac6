"""Models from `.keras` files: whole ones, damaged ones, and ones that ask for too much."""

import contextlib
import json
import os
import random
import resource
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import CheckpointError
from tfprune.layers import FusedBatchNormalization
from tfprune.model_file import load_model


def test_models_of_any_kind(tmp_path):
    inputs = [keras.Input((4,), name=name) for name in "ab"]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "two.keras")
    model = load_model(tmp_path / "two.keras")
    assert [tensor.name for tensor in model.inputs] == ["a", "b"]
    assert not model.compiled
    keras.Sequential([keras.Input((4, 4, 3)), FusedBatchNormalization()]).save(tmp_path / "ours.keras")
    assert type(load_model(str(tmp_path / "ours.keras")).layers[0]) is FusedBatchNormalization


def test_compiled_and_trained_models(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 1)), verbose=0)
    model.save(tmp_path / "trained.keras")
    assert load_model(str(tmp_path / "trained.keras")).layers[0].units == 1


def test_damaged_files(tmp_path):
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(CheckpointError, match=r"text.keras: expected a Keras model, it is damaged or no ZIP archive"):
        load_model(str(tmp_path / "text.keras"))
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "zip.keras")
    with pytest.raises(
        CheckpointError, match=r"zip.keras: expected a Keras model, it has no member 'config.json'"
    ) as caught:
        load_model(str(tmp_path / "zip.keras"))
    assert "\n" not in str(caught.value)


def test_files_that_would_run_code(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    with pytest.raises(CheckpointError, match=r"it has a Lambda, which runs code; .*; if you trust it, load it by"):
        load_model(str(tmp_path / "code.keras"))


def test_layers_of_unknown_classes_are_named(tmp_path):
    class Mine(keras.layers.Layer):
        def call(self, values):
            return values

    keras.Sequential([keras.Input((4,)), Mine()]).save(tmp_path / "mine.keras")
    with pytest.raises(CheckpointError, match=r"mine.keras has the class Mine, which Keras does not know; .*--plugin"):
        load_model(str(tmp_path / "mine.keras"))


def test_other_things_than_models(tmp_path):
    keras.saving.save_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), tmp_path / "model.keras")
    layer = keras.layers.Dense(2)
    layer.build((None, 4))
    keras.src.saving.saving_lib.save_model(layer, tmp_path / "layer.keras")
    with pytest.raises(CheckpointError, match=r"expected a model in .*layer.keras, it holds a Dense"):
        load_model(str(tmp_path / "layer.keras"))


@keras.saving.register_keras_serializable("mine")
def doubled(values):
    return 2 * values


@keras.saving.register_keras_serializable("mine")
class Small(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return 0.1 * keras.ops.ones(shape, dtype)


@keras.saving.register_keras_serializable("mine")
class Network(keras.Model):
    pass


@keras.saving.register_keras_serializable("mine")
class Subclassed(keras.Model):
    """A model whose variables Keras makes when it is called on symbols, not when its layers are made."""

    def __init__(self, units=3, **settings):
        super().__init__(**settings)
        self.dense, self.norm = keras.layers.Dense(units), keras.layers.BatchNormalization()

    def call(self, values, training=False):
        return self.norm(self.dense(values), training=training)

    def get_config(self):
        return {"units": self.dense.units}


@keras.saving.register_keras_serializable("mine")
class Repeated(keras.layers.Layer):
    """A layer whose settings have names that mean something else in layers of Keras."""

    def __init__(self, num, vocabulary, **settings):
        super().__init__(**settings)
        self.num, self.vocabulary = num, vocabulary

    def call(self, values):
        return keras.ops.repeat(values, self.num, -1)

    def get_config(self):
        return super().get_config() | {"num": self.num, "vocabulary": self.vocabulary}


@pytest.fixture
def forgotten():
    """Keras' table of registered objects without ours, as in a program that does not import this module."""
    known = keras.saving.get_custom_objects()
    ours = {name: known.pop(name) for name in list(known) if name.startswith("mine>")}
    yield
    known.update(ours)


def own_model(kind):
    inputs = keras.Input((4, 3))
    if kind == "model":
        return Network(inputs, keras.layers.Dense(2)(inputs))
    layer = {
        "activation": lambda: keras.layers.Dense(2, activation=doubled),
        "within a layer": lambda: keras.layers.Bidirectional(keras.layers.LSTM(2, activation=doubled)),
        "initializer": lambda: keras.layers.Dense(2, kernel_initializer=Small()),
    }[kind]()
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("activation", "the function mine>doubled"),
        ("within a layer", "the function mine>doubled"),
        ("initializer", "the class mine>Small"),
        ("model", "the class mine>Network"),
    ],
)
def test_what_keras_does_not_know_is_named(tmp_path, request, kind, name):
    path = str(tmp_path / "own.keras")
    own_model(kind).save(path)
    assert load_model(path).count_params() > 0
    request.getfixturevalue("forgotten")
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path} has {name}, which Keras does not know; name the Python module that registers what is "
        "missing (keras.saving.register_keras_serializable) with --plugin"
    )


def rewritten(path, change=None, **members):
    """Changes the configuration in a `.keras` file, and other members by their names up to the dot."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    if change is not None:
        change(config)
    content["config.json"] = json.dumps(config).encode()
    content |= {name: members.get(name.split(".")[0], value) for name, value in content.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read {path}: expected a Keras model, ")
    assert message.isprintable()
    assert len(message) < 400
    return message


LARGE = {
    "units": lambda: keras.layers.Dense(10**9),
    "a built layer": lambda: keras.layers.Dense(10**9),
    "an embedding": lambda: keras.layers.Embedding(10**10, 8),
    "heads": lambda: keras.layers.MultiHeadAttention(10**9, 64),
    "cells": lambda: keras.layers.LSTM(10**6),
    "a costly initializer": lambda: keras.layers.Dense(10**6, kernel_initializer="orthogonal"),
    "an identity": lambda: keras.layers.SimpleRNN(10**5, recurrent_initializer="identity"),
}


@pytest.mark.parametrize("name", LARGE)
def test_models_of_more_weights_than_their_files_take_no_memory(name, tmp_path):
    inputs = keras.Input((5, 8))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "small.keras")
    large = keras.saving.serialize_keras_object(LARGE[name]())
    if name == "a built layer":
        large["build_config"] = {"input_shape": [None, 10**5]}
    layers = [keras.saving.serialize_keras_object(keras.layers.InputLayer((5, 8))), large]

    def change(config):
        config |= {"module": "keras", "class_name": "Sequential", "registered_name": None}
        config["config"] = {"name": "net", "layers": layers}

    with TensorMemory() as memory:
        message = refusal(rewritten(tmp_path / "small.keras", change))
    assert "it describes a model of more weights than it has" in message or name == "heads"
    assert memory.most < 1 << 24


class TensorMemory:
    """The bytes that this process may have taken in a block, by the operating system."""

    def __enter__(self):
        self._before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return self

    def __exit__(self, *_):
        self.most = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._before) << 10


def test_a_sequence_of_layers_with_states(tmp_path):
    layers = [keras.layers.LSTM(3, stateful=True), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 4)), *layers])
    model.save(tmp_path / "states.keras")
    x = np.random.default_rng(0).random((2, 5, 4), np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "states.keras")(x), model(x))


def test_vocabularies(tmp_path):
    lookup = keras.layers.StringLookup()
    lookup.adapt(np.array(["tree", "frost", "tree"]))
    keras.Sequential([keras.Input((2,), dtype="string"), lookup]).save(tmp_path / "words.keras")
    loaded = load_model(tmp_path / "words.keras")
    words = tf.constant([["frost", "tree"]])
    np.testing.assert_array_equal(loaded(words), lookup(words))
    with zipfile.ZipFile(tmp_path / "words.keras", "a") as archive:
        archive.writestr("assets/../../a", "text")
    assert "its member 'assets/../../a' is outside its folder" in refusal(tmp_path / "words.keras")


def words_of(layer):
    inputs = keras.Input((2,), dtype="string")
    return keras.Model(inputs, layer(inputs)), tf.constant([["frost", "tree"]])


def counted():
    lookup = keras.layers.StringLookup(output_mode="tf_idf")
    lookup.adapt(tf.constant([["tree", "frost"], ["tree", "tree"]]))
    return words_of(lookup)


def weighted():
    return words_of(keras.layers.StringLookup(vocabulary=["tree"], idf_weights=[0.25], output_mode="tf_idf"))


def subclassed():
    x = tf.constant(np.random.default_rng(0).random((2, 4), np.float32))
    model = Subclassed()
    model(x)
    return model, x


def within_another():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(Subclassed()(inputs))), subclassed()[1]


def with_own_settings():
    inputs = keras.Input((4,))
    values = keras.ops.linspace(inputs, inputs + 1, num=2000)
    return keras.Model(inputs, Repeated(1001, "English")(values[:1, :])), subclassed()[1]


def with_a_compiled_part():
    x = np.random.default_rng(0).random((4, 600), np.float32)
    part = keras.Sequential([keras.Input((600,)), keras.layers.Dense(900), keras.layers.Dense(2)])
    part.compile("adam", "mse")
    inputs = keras.Input((600,))
    return keras.Model(inputs, part(inputs)), x


@pytest.mark.parametrize(
    "make", [counted, weighted, subclassed, within_another, with_own_settings, with_a_compiled_part]
)
def test_what_models_return_that_keras_makes_in_its_own_ways(make, tmp_path):
    model, x = make()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(x), model(x))


def test_a_refused_model_leaves_no_variables_for_others_to_make(tmp_path):
    model, x = subclassed()
    model.save(tmp_path / "model.keras")
    rewritten(tmp_path / "model.keras", lambda config: config["config"].update(units=300_000_000))
    with TensorMemory() as memory:
        assert "describes a model of more weights than it has" in refusal(tmp_path / "model.keras")
        other, x = subclassed()  # Keras would make what waits, 5 GB, with these
    assert other(x).shape == (2, 3)
    assert memory.most < 1 << 30


def test_the_weights_are_those_that_keras_reads(tmp_path):
    inputs = keras.Input((16, 16, 3))
    inner = keras.Sequential([keras.Input((16, 16, 4)), keras.layers.SeparableConv2D(4, 3, padding="same")])
    x = inner(inner(keras.layers.Conv2D(4, 3, padding="same", dtype="mixed_bfloat16")(inputs)))
    x = keras.layers.TimeDistributed(keras.layers.GRU(3))(keras.layers.BatchNormalization(dtype="float64")(x))
    model = keras.Model(inputs, keras.layers.Bidirectional(keras.layers.LSTM(2))(x))
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.path)).random(weight.shape))
    model.save(tmp_path / "model.keras")
    loaded, expected = load_model(tmp_path / "model.keras"), keras.saving.load_model(tmp_path / "model.keras")
    assert [weight.path for weight in loaded.weights] == [weight.path for weight in expected.weights]
    for found, same in zip(loaded.weights, expected.weights, strict=True):
        assert found.dtype == same.dtype
        np.testing.assert_array_equal(found, same)


def test_other_sizes_than_in_the_weights(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(20, name="a")]).save(path)
    rewritten(path, lambda config: config["config"]["layers"][1]["config"].update(units=19))
    assert "its weights do not fit 1 layers, first a: " in refusal(path)
    rewritten(path, lambda config: config["config"]["layers"][1]["config"].update(units=-1))
    assert "units" in refusal(path)
    rewritten(path, model=bytes(1000))
    assert "its weights are no HDF5 file" in refusal(path)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(CheckpointError, match="is a folder"):
        load_model(tmp_path / "folder.keras")
    os.mkfifo(tmp_path / "pipe.keras")
    assert "it is no regular file" in refusal(tmp_path / "pipe.keras")


def test_settings_of_threads_and_variables_are_as_before(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "code.keras")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras")
    refusal(tmp_path / "code.keras")
    keras.Variable(np.zeros(2 << 20))  # more than the files have
    assert keras.saving.load_model(tmp_path / "code.keras", safe_mode=False).layers


def test_every_cut_and_flipped_byte_ends_in_a_line(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    whole = path.read_bytes()
    draw = random.Random(0)
    for place in draw.sample(range(len(whole)), 150):
        for damaged in (
            whole[:place],
            whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :],
        ):
            path.write_bytes(damaged)
            with contextlib.suppress(CheckpointError):
                load_model(path)


def test_long_sequences(tmp_path):
    """Keras makes a sequential model again for each layer in its file, in 20 seconds for 400 of them."""
    keras.utils.set_random_seed(0)
    chain = [keras.layers.Dense(3, "relu", name=f"dense{number}") for number in range(400)]
    model = keras.Sequential([keras.Input((3,), name="numbers", dtype="float32"), *chain], name="long")
    model.save(tmp_path / "long.keras")
    loaded = load_model(tmp_path / "long.keras")
    assert type(loaded) is keras.Sequential
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    for mine, own in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, own)


def test_sequences_within_each_other_are_those_of_keras(tmp_path):
    inner = keras.Sequential([keras.layers.Dense(4, name="first"), keras.layers.ReLU(name="relu")], name="inner")
    ids = keras.Input((5,), dtype="int32", name="ids")
    model = keras.Sequential([ids, keras.layers.Embedding(7, 3, name="words"), inner, keras.layers.Flatten()])
    model.add(keras.Sequential([keras.layers.Dense(2, name="last")], name="end"))
    model.save(tmp_path / "nested.keras")
    loaded, own = load_model(tmp_path / "nested.keras"), keras.models.load_model(tmp_path / "nested.keras")
    x = np.arange(10).reshape(2, 5) % 7
    np.testing.assert_array_equal(loaded(x), own(x))
    assert loaded.get_config() == own.get_config()
    assert [each.dtype for each in loaded.inputs] == ["int32"]
    unbuilt = keras.Sequential([keras.layers.Dense(2, name="dense")], name="open")
    unbuilt.build((None, 3))
    unbuilt.save(tmp_path / "open.keras")
    assert load_model(tmp_path / "open.keras").input_shape == (None, 3)
