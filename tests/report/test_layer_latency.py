import keras
import pytest

from tests import opaque_layers as opaque
from tfprune.errors import ConfigError
from tfprune.report import compare_layer_latency, layer_latency

layers = keras.layers


def network(units=4):
    inputs = keras.Input((6,), name="input")
    dense = layers.Dense(6, name="shared")
    x = layers.Dense(units, name="first")(dense(dense(inputs)))
    x = layers.Flatten(name="flat")(layers.Reshape((1, units), name="reshape")(x))
    return keras.Model(inputs, keras.ops.add(x, 1.0))


def test_every_layer_has_a_time(monkeypatch):
    """A fake clock: the empty function takes 1 ms, others 3 ms, and those of the second model 5 ms."""
    seen = []

    def times(calls, *, runs, warm_up):
        seen.append((list(calls), runs, warm_up))
        for call in calls.values():
            call()
        spent = {"one": 3.0, "": 1.0, "two": 5.0}
        return {name: layer_latency.np.full(runs, spent[name]) for name in calls}

    monkeypatch.setattr(layer_latency, "alternating_times", times)
    received = compare_layer_latency({"one": network(), "two": network(3)}, runs=2, warm_up=1)
    add = list(received["one"])[-1]
    assert received["one"] == {"input": 0, "shared": 4, "first": 2, "reshape": 0, "flat": 0, add: 2}
    assert received["two"]["first"] == 4
    assert received["two"]["shared"] == 8
    # two calls of the shared layer, and `first` in both models, the empty function between them; `add` has another
    # name in the second model
    assert seen[:3] == [(["one", "", "two"], 2, 1)] * 3


def test_real_times_grow_with_the_work():
    inputs = keras.Input((256, 256, 3))
    x = layers.Conv2D(32, 3, name="large")(inputs)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(2, name="small")(x))
    received = compare_layer_latency({"model": model}, runs=5)["model"]
    assert received["large"] > 5 * received["small"] >= 0


def test_the_price_of_a_call_is_taken_off():
    model = keras.Sequential([keras.Input((2,)), layers.ReLU(name="relu")])
    assert compare_layer_latency({"model": model}, runs=9)["model"]["relu"] < 0.05


@pytest.mark.parametrize("batch_size", [1, 3])
def test_layers_with_several_inputs_and_integers(batch_size):
    # large enough to take longer than the price of a call, which is taken off, on a busy machine, too
    tokens, other = keras.Input((200,), dtype="int32"), keras.Input((200, 64))
    x = layers.Embedding(7, 64, name="embedding")(tokens)
    x = layers.MultiHeadAttention(4, 64, name="attention")(x, other)
    model = keras.Model([tokens, other], x)
    received = compare_layer_latency({"model": model}, batch_size=batch_size, runs=3)["model"]
    assert received["attention"] > 0


def test_unknown_sizes_are_named():
    inputs = keras.Input((None, 3), name="sequence")
    model = keras.Model(inputs, layers.Dense(2)(inputs), name="open")
    with pytest.raises(ConfigError, match=r"open: the size of \(None, None, 3\) at sequence is unknown; give the"):
        compare_layer_latency({"model": model})


def test_layers_are_timed_in_inference(monkeypatch):
    seen = []

    class Augment(keras.layers.Layer):
        def call(self, inputs, training=True):
            seen.append(training)
            return inputs

    inputs = keras.Input((3,))
    model = keras.Model(inputs, Augment()(inputs))
    seen.clear()
    compare_layer_latency({"model": model}, runs=1, warm_up=0)
    assert seen
    assert not any(seen)


def test_layers_within_opaque_ones_are_timed_by_their_names():
    inputs = keras.Input((5, 8))
    block = opaque.CausalBlock(2, name="block")
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(block(inputs)))
    times = compare_layer_latency({"model": model}, batch_size=3, runs=2, warm_up=0)["model"]
    assert {"block/query", "block/merge", "head"} <= set(times)
