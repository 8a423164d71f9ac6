import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.report import compare_latency, latency, measure_latency
from tfprune.report import latency as module
from tfprune.report import latency as timing
from tfprune.report.latency import alternating_times


def network(seconds=0.0):
    """A model that sleeps, and counts its calls in the list that comes with it."""
    calls = []

    def sleep(values):
        calls.append(len(values))
        tf.py_function(lambda: None, [], [])
        return values

    class Sleeper(keras.layers.Layer):
        def call(self, values):
            return tf.ensure_shape(tf.numpy_function(sleep, [values], tf.float32), values.shape)

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((3,))
    return keras.Model(inputs, Sleeper()(inputs)), calls


def clock_of(monkeypatch, steps):
    """A clock that jumps by the given steps in turn between the two readings of a call."""
    now, readings = [0.0], [0]

    def read():
        if readings[0] % 2:
            now[0] += steps[(readings[0] // 2) % len(steps)]
        readings[0] += 1
        return now[0]

    monkeypatch.setattr(timing.time, "perf_counter", read)


def test_median_minimum_and_warm_up(monkeypatch):
    model, calls = network()
    clock_of(monkeypatch, [9.0, 8.0, 0.003, 0.001, 0.005])  # two calls to warm up, three timed
    received = measure_latency(model, batch_size=2, runs=3, warm_up=2)
    assert (received.median_ms, received.minimum_ms) == pytest.approx((3.0, 1.0))
    assert received.batch_size == 2
    assert received.device
    assert calls == [2] * 5


def test_models_take_turns(monkeypatch):
    clock_of(monkeypatch, [0.002, 0.004, 0.004, 0.002])  # the order turns round with every run
    (one, one_calls), (other, other_calls) = network(), network()
    received = compare_latency({"one": one, "other": other}, runs=4, warm_up=1)
    assert received["one"].median_ms == pytest.approx(2)
    assert received["other"].median_ms == pytest.approx(4)
    assert len(one_calls) == len(other_calls) == 5


def test_real_times_are_those_of_inference():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dropout(0.5)(keras.layers.Dense(3)(inputs))
    received = measure_latency(keras.Model(inputs, outputs), runs=5, warm_up=1)
    assert 0 < received.minimum_ms <= received.median_ms


@pytest.mark.parametrize("shape", [(None, 3), (2, None)])
def test_unknown_sizes_are_refused(shape):
    inputs = keras.Input(shape)
    with pytest.raises(ConfigError, match=r"inputs have a fixed shape, .* takes \(None, .*give the input_shape"):
        measure_latency(keras.Model(inputs, keras.layers.ReLU()(inputs)))


def test_several_inputs_and_outputs():
    tokens, values = keras.Input((2,), dtype="int32", name="tokens"), keras.Input((3,), name="values")
    embedded = keras.layers.Embedding(4, 3)(tokens)
    model = keras.Model({"tokens": tokens, "values": values}, [keras.ops.mean(embedded, 1) + values, embedded])
    assert [value.shape for value in latency._call(model, 5)()] == [(5, 3), (5, 2, 3)]
    assert measure_latency(model, runs=2, warm_up=1).median_ms > 0


def test_subclassed_models_are_refused():
    class Own(keras.Model):
        def call(self, values):
            return values

    with pytest.raises(ConfigError, match="expected a functional or sequential model, received Own"):
        measure_latency(Own())


def test_what_is_timed_is_complete():
    model, _ = network()
    (values,) = latency._call(model, 1)()
    assert isinstance(values, np.ndarray)


def test_calls_take_turns_and_the_order_turns_round(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def call(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds * len(order)  # slower and slower

        return run

    received = alternating_times({"a": call("a", 0.001), "b": call("b", 0.01)}, runs=2, warm_up=1)
    assert order == ["a", "b", "b", "a", "a", "b"]
    np.testing.assert_allclose(received["a"], [4, 5])
    np.testing.assert_allclose(received["b"], [30, 60])


@pytest.mark.parametrize(("description", "shown"), [("timing", True), (None, False)])
def test_a_bar_where_it_has_a_name_and_there_is_a_screen(capsys, monkeypatch, description, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    alternating_times({"a": lambda: None}, runs=2, warm_up=0, description=description)
    assert ("timing" in capsys.readouterr().err) == shown
