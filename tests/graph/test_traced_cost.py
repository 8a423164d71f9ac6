"""What is counted in a call's TensorFlow graph, against closed forms, hand-made numbers and TensorFlow's profiler."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.graph.model_zoo import ZOO
from tfprune.graph import complexity, model_calls
from tfprune.graph.traced_cost import estimated_flops, traced_flops

layers, ops = keras.layers, keras.ops


def flops_of(layer, *shapes, **arguments):
    """The multiply-adds of one call of a layer or function on inputs of these shapes."""
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, keras.tree.flatten(layer(*inputs, **arguments)))
    counts = [traced_flops(call) for call in model_calls(model)]
    return None if None in counts else sum(counts)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (lambda: layers.Dense(5), [(3,)]),
        (lambda: layers.Dense(5), [(4, 6, 3)]),
        (lambda: layers.EinsumDense("abc,cde->abde", (4, 2, 5), bias_axes="e"), [(4, 6)]),
        (lambda: layers.Conv1D(6, 3, padding="causal"), [(9, 4)]),
        (lambda: layers.Conv2D(6, (3, 2), strides=2, padding="same"), [(9, 8, 4)]),
        (lambda: layers.Conv2D(6, 3, groups=2), [(9, 8, 4)]),
        (lambda: layers.Conv2D(6, 3, dilation_rate=2), [(10, 8, 4)]),
        (lambda: layers.Conv3D(6, 2), [(5, 4, 4, 3)]),
        (lambda: layers.DepthwiseConv1D(3, depth_multiplier=2), [(9, 4)]),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), [(9, 8, 4)]),
        (lambda: layers.SeparableConv1D(5, 3), [(9, 4)]),
        (lambda: layers.SeparableConv2D(5, 3, padding="same"), [(9, 8, 4)]),
        (lambda: layers.Conv1DTranspose(5, 3), [(9, 4)]),
        (lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"), [(9, 8, 4)]),
        (lambda: layers.Conv3DTranspose(5, 2), [(4, 4, 4, 3)]),
        (lambda: layers.SimpleRNN(5), [(7, 3)]),
        (lambda: layers.GRU(5, return_sequences=True), [(7, 3)]),
        (lambda: layers.LSTM(5, return_state=True), [(7, 3)]),
        (lambda: layers.LSTM(5, unroll=True), [(7, 3)]),
        (lambda: layers.Bidirectional(layers.LSTM(5)), [(7, 3)]),
        (lambda: layers.ConvLSTM1D(4, 3, padding="same"), [(6, 8, 3)]),
        (lambda: layers.ConvLSTM2D(4, 3), [(6, 8, 8, 3)]),
        (lambda: layers.TimeDistributed(layers.Conv2D(4, 3)), [(6, 8, 8, 3)]),
        (lambda: layers.MultiHeadAttention(2, 4, value_dim=3), [(5, 8), (7, 6)]),
        (lambda: layers.GroupQueryAttention(4, 4, 2), [(5, 8), (7, 8)]),
    ],
)
def test_stock_layers_in_closed_form(layer, shapes):
    """The rules count with the sizes of kernels, the trace with the operations that TensorFlow runs."""
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, keras.tree.flatten(layer()(*inputs)))
    expected = complexity(model)
    assert expected.uncounted == ()
    assert expected.macs > 0
    assert sum(traced_flops(call) for call in model_calls(model)) == expected.macs


@pytest.mark.parametrize("build", ZOO, ids=lambda build: build.__name__)
def test_every_model_of_the_zoo(build):
    """Layer by layer, so that nothing is counted where the closed form has nothing."""
    model = build()
    traced = {}
    for call in model_calls(model):
        traced[call.name] = traced.get(call.name, 0) + traced_flops(call)
    assert {name: count for name, count in traced.items() if count} == {
        row.layer: row.macs for row in complexity(model).layers if row.macs
    }


class Attends(keras.layers.Layer):
    """Attention written by hand, with a product that nothing reads, a loss and a count of its calls."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.project = layers.Dense(12, use_bias=False)

    def build(self, shape):
        self.project.build(shape)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, values):
        queries, keys, meant = ops.split(self.project(values), 3, axis=-1)
        self.add_loss(ops.sum(ops.matmul(values, ops.transpose(values, (0, 2, 1)))))
        self.calls.assign_add(1.0)
        weights = ops.softmax(ops.einsum("bqc,bkc->bqk", queries, keys))
        return ops.matmul(weights, meant)


def test_own_layers_by_hand():
    layer = Attends(name="own")
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, layer(inputs))
    layer.calls.assign(3.0)
    losses = list(layer.losses)
    cost = complexity(model)
    assert cost.macs == 5 * 8 * 12 + 5 * 5 * 4 + 5 * 5 * 4
    assert (cost.uncounted, cost.unknown, cost.unknown_share) == ((), 0, 0.0)
    assert [(row.layer, row.kind, row.macs) for row in cost.layers] == [("own", "Attends", cost.macs)]
    assert float(layer.calls) == 3.0  # counting changes nothing
    assert [id(loss) for loss in layer.losses] == [id(loss) for loss in losses]


class Own(keras.layers.Layer):
    """A layer that computes what a function says."""

    def __init__(self, function, **arguments):
        super().__init__(**arguments)
        self.function = function

    def call(self, *inputs):
        return self.function(*inputs)


EYE = np.eye(3, dtype=np.float32)


def either(values):
    def doubled():
        return ops.matmul(ops.matmul(values, EYE), EYE)

    return ops.cond(ops.sum(values) > 0, doubled, lambda: ops.matmul(values, EYE))


@pytest.mark.parametrize(
    ("function", "shapes", "count"),
    [
        (ops.matmul, [(3, 4), (4, 5)], 3 * 4 * 5),
        (lambda a, b: ops.einsum("bij,bkj->bik", a, b), [(3, 4), (5, 4)], 3 * 4 * 5),
        (lambda a, b: tf.einsum("...ij,...kj->...ik", a, b), [(2, 3, 4), (2, 5, 4)], 2 * 3 * 4 * 5),
        (lambda a: tf.einsum("bij->bji", a), [(3, 4)], 0),
        (lambda a: tf.linalg.matmul(a, a, transpose_a=True), [(3, 4)], 4 * 3 * 4),
        (lambda a: a * 2 + ops.sum(a, axis=-1, keepdims=True), [(3, 4)], 0),
        (lambda a: ops.map(lambda x: ops.matmul(x, EYE), a), [(2, 3)], 2 * 9),  # over the one example
        (either, [(3,)], 2 * 9),  # the more expensive branch
    ],
)
def test_operations_by_hand(function, shapes, count):
    assert flops_of(Own(function), *shapes) == count


@pytest.mark.parametrize(
    ("layer", "shapes", "count"),
    [
        (layers.Dot(axes=2), [(3, 4), (5, 4)], 3 * 4 * 5),
        (layers.Attention(), [(3, 4), (5, 4)], 2 * 3 * 5 * 4),
        (layers.RNN([layers.LSTMCell(3), layers.GRUCell(5)]), [(6, 2)], 6 * (12 * (2 + 3) + 15 * (3 + 5))),
        (layers.SpectralNormalization(layers.Conv2D(2, 3)), [(6, 6, 3)], 16 * 27 * 2),
        (layers.Conv2D(4, 3, data_format="channels_first"), [(3, 6, 6)], 16 * 27 * 4),
        (layers.TimeDistributed(layers.TimeDistributed(layers.Dense(4))), [(3, 5, 2)], 15 * 2 * 4),
    ],
)
def test_layers_by_hand(layer, shapes, count):
    on_list = isinstance(layer, layers.Dot | layers.Attention)
    assert flops_of((lambda *inputs: layer(list(inputs))) if on_list else layer, *shapes) == count


def test_an_initial_state_changes_no_cost():
    state = [keras.Input((4,)), keras.Input((4,))]
    inputs = keras.Input((6, 3))
    model = keras.Model([inputs, *state], layers.LSTM(4)(inputs, initial_state=state))
    assert [traced_flops(call) for call in model_calls(model) if call.name.startswith("lstm")] == [6 * 16 * (3 + 4)]


@pytest.mark.parametrize(
    "function",
    [
        lambda a: tf.ensure_shape(tf.py_function(lambda each: each, [a], tf.float32), a.shape),
        lambda a: tf.numpy_function(lambda each: each, [a], tf.float32),
        lambda a: tf.while_loop(lambda x: tf.reduce_sum(x) < 9, lambda x: tf.matmul(x, EYE) + 1, [a]),
        lambda a: tf.math.real(tf.signal.fft(tf.cast(a, tf.complex64))),
        lambda a: tf.stop_gradient(a).numpy(),
    ],
    ids=["python", "numpy", "as long as needed", "Fourier", "eager only"],
)
def test_what_cannot_be_counted_is_estimated_and_named(function):
    """Kernels times positions, as no better number is known; at least one for each value."""

    class Hidden(Own):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3, 3))

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, Hidden(lambda a: function(a[:, 0])[:, None] * tf.ones_like(a), name="hidden")(inputs))
    (_, call) = model_calls(model)
    assert traced_flops(call) is None
    assert estimated_flops(call) == 5 * 9
    cost = complexity(model)
    assert (cost.flops, cost.uncounted, cost.unknown, cost.unknown_share) == (0, ("hidden",), 45, 1.0)


def test_a_rule_without_costs_is_named_if_its_layer_multiplies():
    """How much of the product depends on the kept channels, the rule does not say."""
    from tfprune import register_rule

    class Scaled(Own):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(3,))

    register_rule(Scaled, lambda labels, call: labels.put(call.outputs[0], labels.of(call.inputs[0])))
    inputs = keras.Input((3,))
    free = keras.Model(inputs, Scaled(lambda a: a * 2)(inputs))
    multiplying = keras.Model(inputs, Scaled(lambda a: ops.matmul(a, EYE), name="product")(inputs))
    assert (complexity(free).uncounted, complexity(free).unknown) == ((), 0)
    assert (complexity(multiplying).uncounted, complexity(multiplying).unknown) == (("product",), 9)


def test_open_sizes_count_as_one_and_calls_are_summed():
    layer = Own(lambda a: ops.matmul(a, EYE), name="twice")
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(layer(inputs)))
    assert complexity(model).macs == 2 * 9


def test_the_profiler_of_tensorflow_counts_the_same():
    """Twice as many operations as multiply-adds; the profiler knows neither einsum nor batched products."""
    model = keras.Sequential(
        [keras.Input((9, 8, 4)), layers.Conv2D(6, 3), layers.DepthwiseConv2D(3), layers.Flatten(), layers.Dense(5)]
    )
    graph = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((1, 9, 8, 4))).graph
    with graph.as_default():
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        operations = tf.compat.v1.profiler.profile(graph, cmd="scope", options=options).total_float_ops
    additions = 7 * 6 * 6 + 5 * 4 * 6 + 5  # of the biases
    assert sum(traced_flops(call) for call in model_calls(model)) == (operations - additions) // 2
