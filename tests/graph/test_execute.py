from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.graph import SlimWeights, channel_groups, convert, execute, gate_sites, model_calls, segments, slim
from tfprune.graph.segments import sites_by_group
from tfprune.recipes.models import build_model

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGE = (6, 6, 3)
CASES = {
    "conv": (IMAGE, lambda: layers.Conv2D(5, 3, strides=2, padding="same")),
    "conv without bias": (IMAGE, lambda: layers.Conv2D(5, (3, 2), use_bias=False)),
    "dilated conv": (IMAGE, lambda: layers.Conv2D(5, 2, dilation_rate=2, activation="relu")),
    "depthwise": (IMAGE, lambda: layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)),
    "dense": ((7,), lambda: layers.Dense(4, activation="tanh")),
    "batch norm": (IMAGE, lambda: layers.BatchNormalization(epsilon=0.01)),
    "batch norm of vectors": ((7,), lambda: layers.BatchNormalization()),
    "batch norm without scale": (IMAGE, lambda: layers.BatchNormalization(scale=False)),
    "batch norm without offset": (IMAGE, lambda: layers.BatchNormalization(center=False)),
    "activation": (IMAGE, lambda: layers.Activation("softmax")),
    "relu": (IMAGE, lambda: layers.ReLU()),
    "capped relu": (IMAGE, lambda: layers.ReLU(max_value=0.3)),
    "leaky relu": (IMAGE, lambda: layers.ReLU(negative_slope=0.5)),
    "shifted relu": (IMAGE, lambda: layers.ReLU(threshold=0.2)),
    "pooling": (IMAGE, lambda: layers.MaxPooling2D(2)),
    "dropout": (IMAGE, lambda: layers.Dropout(0.9)),
    "flatten": (IMAGE, lambda: layers.Flatten()),
}


def outputs(model, images, weights):
    calls = model_calls(model)
    tensors = {id(calls[0].outputs[0]): tf.constant(images)}
    execute(calls[1:], tensors, weights)
    return tensors[id(model.outputs[0])]


def own(call):
    """A call's own weights, by attribute name."""
    names = ("kernel", "bias", "gamma", "beta")
    return {name: tf.constant(np.asarray(w)) for name in names if (w := getattr(call.layer, name, None)) is not None}


def randomize(model):
    for weight in model.weights:
        weight.assign(RNG.uniform(0.2, 1.2, weight.shape))


@pytest.mark.parametrize("name", CASES)
def test_one_layer(name):
    shape, make = CASES[name]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make()(inputs))
    randomize(model)
    images = RNG.normal(size=(9, *shape)).astype(np.float32)
    # Dropout is off, and batch norm takes the statistics of the batch.
    expected = model(images, training="batch norm" in name)
    np.testing.assert_allclose(outputs(model, images, own), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_sums(count):
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.Add()([layers.ReLU()(inputs)] * (count - 1) + [inputs]))
    images = RNG.normal(size=(2, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(outputs(model, images, own), model(images), rtol=1e-6)


def test_the_given_weights_are_used_and_the_layer_is_left_alone():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    before = model.get_weights()
    images = RNG.normal(size=(4, 3)).astype(np.float32)
    kernel = RNG.normal(size=(3, 6)).astype(np.float32)  # another width, too
    result = outputs(model, images, lambda call: {"kernel": tf.constant(kernel)})
    np.testing.assert_allclose(result, images @ kernel, rtol=1e-5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_norm_moves_no_average():
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.BatchNormalization()(inputs))
    outputs(model, RNG.normal(size=(4, *IMAGE)).astype(np.float32), own)
    np.testing.assert_array_equal(model.layers[-1].moving_mean, 0)
    np.testing.assert_array_equal(model.layers[-1].moving_variance, 1)


def test_without_weights_the_layer_runs_as_it_is():
    """A layer nobody has a rule for keeps its own weights, in inference mode."""
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
    randomize(model)
    images = RNG.normal(size=(4, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(outputs(model, images, lambda call: {}), model(images, training=False), rtol=1e-5)


def test_bfloat16_stays_bfloat16():
    inputs = keras.Input(IMAGE)
    model = keras.Model(inputs, layers.MaxPooling2D(2)(layers.ReLU()(inputs)))
    images = tf.cast(RNG.normal(size=(2, *IMAGE)), tf.bfloat16)
    assert outputs(model, images, own).dtype == tf.bfloat16


def test_batch_norm_without_scale_and_offset_uses_the_batch():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization(scale=False, center=False)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))
    groups = channel_groups(model)
    mask = np.arange(8) % 3 > 0
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    weights = SlimWeights(model, groups)
    tensors = {id(model.inputs[0]): tf.constant(images)}
    execute(
        model_calls(model)[1:],
        tensors,
        lambda call: dict(zip(weights.names(call), weights.tensors(call, mask), strict=True)),
    )
    expected = slim(model, mask, groups, rescale_kernels=True)(images, training=True)
    np.testing.assert_allclose(tensors[id(model.outputs[0])], expected, atol=1e-5)


def names(segment):
    return [call.name for call in segment.calls]


@pytest.fixture(scope="module")
def resnet():
    return build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=0)


def test_a_residual_network_falls_into_stem_blocks_and_classifier(resnet):
    pieces = segments(model_calls(resnet))
    assert len(pieces) == 1 + 9 + 1
    assert names(pieces[0])[0] == "conv"
    for number, piece in enumerate(pieces[1:-1]):
        prefix = f"block{number // 3}.{number % 3}_"
        assert any(name == prefix + "conv2" for name in names(piece))
        assert sum(name.startswith(prefix) for name in names(piece)) >= 7
        assert {name.split("_")[0] for name in names(piece) if "conv" in name} == {prefix[:-1]}
    assert names(pieces[-1])[-1] == "fc"


def check(model):
    """They follow on each other, hold every call once, and make the model's output one after the other."""
    pieces = segments(model_calls(model))
    assert pieces[0].input is model.inputs[0]
    assert pieces[-1].output is model.outputs[0]
    for before, after in pairwise(pieces):
        assert after.input is before.output
        assert any(hasattr(call.layer, "kernel") for call in after.calls)
    order = [call.name for call in model_calls(model)][1:]
    assert [name for piece in pieces for name in names(piece)] == order
    value = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    expected = model(value, training=False)
    for piece in pieces:
        tensors = {id(piece.input): value}
        execute(piece.calls, tensors, lambda call: {})
        value = tensors[id(piece.output)]
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_one_after_the_other_they_are_the_model(resnet):
    check(resnet)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["conv", "relu", "residual", "nested", "pool"]), min_size=1, max_size=6))
def test_any_network_with_one_input_and_output(parts):
    def convolution(x):
        return layers.Conv2D(4, 3, padding="same")(x)

    x = inputs = keras.Input((8, 8, 4))
    for part in parts:
        if part == "conv":
            x = convolution(x)
        elif part == "relu":
            x = layers.ReLU()(x)
        elif part == "pool":
            x = layers.AveragePooling2D(1)(x)
        elif part == "residual":
            x = layers.Add()([x, convolution(x)])
        else:
            y = layers.Add()([convolution(x), x])
            x = layers.Add()([x, convolution(y)])
    check(keras.Model(inputs, x))


def test_a_shortcut_over_everything_makes_one_segment():
    inputs = keras.Input((8, 8, 4))
    x = inputs
    for _ in range(3):
        x = layers.Conv2D(4, 3, padding="same")(x)
    assert len(segments(model_calls(keras.Model(inputs, layers.Add()([inputs, x]))))) == 1


def found(model):
    groups = channel_groups(model)
    return [(groups[site.group].name, site.layer) for site in gate_sites(groups)]


def test_golden_gates_of_resnet56(golden):
    """In the original the stem's and the projections' gates act after the sums, 10, 9 and 9 times; others once."""
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3))
    groups = channel_groups(model)
    sites = sites_by_group(gate_sites(groups), groups)
    names = [str(name).replace("BasicBlock", "block").replace("/", "_") for name in golden["gate_names"]]
    assert [group.name for group in groups] == names
    for group, mine in zip(groups, sites, strict=True):
        acts = [site.layer for site in mine]
        if group.name == "conv":
            assert acts == ["relu", *(f"block0.{block}_relu2" for block in range(9))]
        elif group.name.endswith("conv3"):
            assert acts == [f"{group.name[:6]}.{block}_relu2" for block in range(9)]
        else:
            assert acts == [group.name.replace("conv1", "relu1")]
        for site in mine:
            assert site.tensor is model.get_layer(site.layer).output


def test_swapped_batch_norms_change_nothing():
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1))
    assert found(convert(model, "fused")) == found(model)


def test_plain_chain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(inputs)
    x = layers.BatchNormalization(name="a_norm")(x)
    x = layers.Activation("tanh", name="a_tanh")(x)
    x = layers.Dropout(0.1, name="a_drop")(x)
    x = layers.Conv2D(5, 3, name="b")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(x))
    assert found(model) == [("a", "a_drop"), ("b", "b")]


def test_before_a_merge_there_is_no_gate_but_at_every_other_reader_one():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="b")(x)
    z = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="out")(z))
    assert found(model) == [("a", "a"), ("a", "sum_relu")]  # `b` is read by the sum alone


def test_outputs_have_none():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    assert gate_sites(channel_groups(model)) == ()


def test_zeros_at_the_sites_are_what_slimming_removes():
    """With a group's channels zeroed at its sites, nothing behind them sees what the channels held before."""
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=0)
    groups = channel_groups(model)
    reads = {name for name, slots in groups.slots.items() for slot in slots if slot.role == "in"}
    gated = {site.layer for site in gate_sites(groups)}
    producers = {}
    for layer in model.layers:
        if layer.name in reads and layer.name != "conv":
            before = layer.input._keras_history[0]
            if isinstance(before, layers.GlobalAveragePooling2D):
                before = before.input._keras_history[0]
            producers[layer.name] = before.name
    assert producers
    assert set(producers.values()) <= gated
    assert np.all([name.endswith(("relu", "relu1", "relu2")) for name in gated])
