import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, sizes
from tfprune.graph import channel_groups, complexity

layers = keras.layers


def head(x, units=2):
    return layers.Dense(units, name="head")(layers.Flatten()(x))


def box_head(x):
    """A head that reads two axes, each of its own labels, where flattening would leave one of them alone."""
    return layers.EinsumDense("abc,bcd->ad", output_shape=2, name="head")(x)


def tail(inputs, *chain):
    """A model of layers one after the other, with a dense head."""
    x = inputs
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, head(x))


CONVOLUTIONS = {
    "conv1d": ((9, 3), layers.Conv1D, {}),
    "causal": ((9, 3), layers.Conv1D, {"padding": "causal", "dilation_rate": 2}),
    "conv2d": ((7, 6, 3), layers.Conv2D, {"strides": 2}),
    "conv3d": ((4, 4, 3, 2), layers.Conv3D, {"padding": "same"}),
    "conv1d_transpose": ((5, 3), layers.Conv1DTranspose, {"strides": 2}),
    "conv2d_transpose": ((4, 4, 3), layers.Conv2DTranspose, {"strides": 2, "output_padding": 1}),
    "conv3d_transpose": ((3, 3, 2, 3), layers.Conv3DTranspose, {}),
    "separable1d": ((9, 3), layers.SeparableConv1D, {"depth_multiplier": 2}),
    "separable2d": ((7, 6, 3), layers.SeparableConv2D, {"depth_multiplier": 3, "strides": 2}),
}


@pytest.mark.parametrize(("shape", "kind", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_convolutions_of_all_kinds(shape, kind, options, use_bias):
    first = kind(6, 2, use_bias=use_bias, name="first", **options)
    second = kind(5, 2, use_bias=use_bias, name="second", activation="relu")
    padded = "dilation_rate" in options  # by TensorFlow, to a multiple of it
    groups = agrees(tail(keras.Input(shape), first, second), traced=not padded)
    assert sizes(groups) == {"first": 6, "second": 5}
    kernel = "pointwise_kernel" if "separable" in kind.__name__.lower() else "kernel"
    roles = {(slot.weight, slot.axis): slot.role for slot in groups.slots["second"]}
    axes = (-1, -2) if "Transpose" in kind.__name__ else (-2, -1)
    assert [roles[kernel, axis] for axis in axes] == ["in", "out"]
    assert (("bias", -1) in roles) == use_bias


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize(
    ("shape", "first", "depthwise"),
    [((8, 3), layers.Conv1D, layers.DepthwiseConv1D), ((6, 6, 3), layers.Conv2D, layers.DepthwiseConv2D)],
)
def test_depthwise_convolutions_pass_channels_on(shape, first, depthwise, multiplier):
    model = tail(keras.Input(shape), first(6, 3, name="a"), depthwise(2, depth_multiplier=multiplier, name="d"))
    groups = agrees(model)
    assert sizes(groups) == {"a": 6}
    slots = {slot.weight: slot for slot in groups.slots["d"]}
    assert (slots["depthwise_kernel"].role if "depthwise_kernel" in slots else slots["kernel"].role) == "pass"
    np.testing.assert_array_equal(slots["bias"].channels, np.repeat(np.arange(6), multiplier))


def test_depthwise_convolutions_of_inputs_are_left_alone():
    model = tail(keras.Input((6, 6, 3)), layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2D(5, 1, name="b"))
    assert sizes(agrees(model)) == {"b": 5}


@pytest.mark.parametrize("filters", [8, 16])
def test_as_many_groups_as_channels_is_depthwise(filters):
    grouped = layers.Conv2D(filters, 3, groups=8, name="grouped")
    model = tail(keras.Input((6, 6, 3)), layers.Conv2D(8, 1, name="a"), grouped, layers.Conv2D(4, 1, name="b"))
    assert sizes(agrees(model)) == {"a": 8, "b": 4}


def test_grouped_convolutions_of_inputs():
    model = tail(keras.Input((6, 6, 4)), layers.Conv2D(6, 3, groups=2, name="a"), layers.Conv2D(4, 1, name="b"))
    assert sizes(agrees(model)) == {"a": 3, "b": 4}
    model = tail(keras.Input((6, 6, 3)), layers.Conv2D(6, 3, groups=3), layers.Conv2D(4, 1, name="b"))
    assert sizes(agrees(model)) == {"b": 4}


def test_grouped_convolutions_tie_across_a_concatenation():
    inputs = keras.Input((6, 6, 3))
    x = layers.Concatenate()([layers.Conv2D(4, 3, name="a")(inputs), layers.Conv2D(8, 3, name="b")(inputs)])
    groups = agrees(keras.Model(inputs, head(layers.Conv2D(6, 3, groups=3, name="c")(x))))
    assert sizes(groups) == {"a": 4, "c": 2}  # a's channels are tied to the two groups' worth of b's
    assert groups[0].layers == ("a", "b")


@pytest.mark.parametrize(("columns", "left"), [(1, 8), (2, 5), (6, 1), (7, 0), (8, 0), (9, 8), (None, 0)])
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D])
def test_widths_at_which_keras_adds_biases_along_the_wrong_axis_are_not_reached(kind, columns, left):
    """With eight channels, the output has as many columns as the images."""
    inputs = keras.Input((2, 4, columns))
    x = kind(8, 3, data_format="channels_first", padding="same", name="a")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D(data_format="channels_first")(x)))
    pinned = [("a", "Keras adds its bias along the wrong axis")] if left < 8 else []
    groups = agrees(model, pinned=pinned, power=-1 if left else None)
    assert groups.channels == left


@pytest.mark.parametrize(("columns", "left"), [(5, 5), (16, 0), (17, 8)])
def test_biases_of_depthwise_convolutions_with_channels_first(columns, left):
    inputs = keras.Input((2, 4, columns))
    options = {"data_format": "channels_first", "padding": "same"}
    x = layers.Conv2D(8, 3, **options, use_bias=False, name="a")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, **options)(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D(data_format="channels_first")(x)))
    groups = agrees(model, pinned=[("a", "wrong axis")] if left < 8 else [], power=-1 if left else None)
    assert groups.channels == left


def test_channels_first():
    options = {"data_format": "channels_first", "use_bias": False}
    chain = [
        layers.Conv2D(8, 3, **options, activation="relu", name="a"),
        layers.BatchNormalization(axis=1),
        layers.DepthwiseConv2D(3, **options),
        layers.SeparableConv2D(6, 1, **options, name="b"),
        layers.Conv2DTranspose(5, 2, **options, name="c"),
    ]
    inputs = keras.Input((4, 7, 8))
    x = inputs
    for layer in chain:
        x = layer(x)
    x = layers.Flatten(data_format="channels_first")(x)
    assert sizes(agrees(keras.Model(inputs, layers.Dense(2)(x)))) == {"a": 8, "b": 6, "c": 5}


def test_dense_layers_on_any_rank():
    inputs = keras.Input((3, 4, 5))
    x = layers.Dense(7, name="a")(layers.Dense(6, name="b", activation="softmax")(inputs))
    assert sizes(agrees(keras.Model(inputs, head(x)))) == {"a": 7}  # softmax mixes the channels of b


def test_dense_layers_beside_other_labelled_axes():
    """The dense layer works on rows while columns can go."""
    inputs = keras.Input((5, 4))
    x = layers.Permute((2, 1))(layers.Dense(6, name="columns")(inputs))
    x = layers.Dense(7, name="rows")(x)
    groups = agrees(keras.Model(inputs, box_head(x)))
    assert sizes(groups) == {"columns": 6, "rows": 7}


def centred(x):
    return x - keras.ops.mean(x, axis=1, keepdims=True)


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_activations_of_the_users_own_may_mix_anything(data_format):
    inputs = keras.Input((6, 7, 5))
    x = layers.Conv2D(8, 3, data_format=data_format, activation=centred, use_bias=False)(inputs)
    agrees(keras.Model(inputs, head(x)), power=None)


def test_activations_of_the_users_own_pin_all_axes():
    inputs = keras.Input((5, 4))
    x = layers.Permute((2, 1))(layers.Dense(6)(inputs))
    agrees(keras.Model(inputs, head(layers.Dense(7, activation=centred)(x))), power=None)


def test_embeddings():
    inputs = keras.Input((5,), dtype="int32")
    values = np.random.default_rng(0).normal(size=(4, 6))
    for initializer in ("uniform", keras.initializers.Constant(values), keras.ops.convert_to_tensor(values)):
        x = layers.Embedding(4, 6, mask_zero=True, embeddings_initializer=initializer, name="e")(inputs)
        assert sizes(agrees(keras.Model(inputs, layers.Dense(2)(x)))) == {"e": 6}


EQUATIONS = {
    "ab,bc->ac": ((5,), 7, "c", {"e": 7}),
    "ab,bcd->acd": ((5,), (3, 4), "cd", {"e.c": 3, "e": 4}),
    "ab,bcd->adc": ((5,), (4, 3), "c", {"e.c": 3, "e": 4}),
    "ab,bdc->acd": ((5,), (4, 3), "d", {"e.d": 3, "e": 4}),
    "abc,cd->abd": ((4, 5), (4, 7), None, {"e": 7}),
    "abc,cd->adb": ((4, 5), (7, 4), None, {"e": 7}),
    "abc,bcd->ad": ((4, 5), 7, "d", {"e": 7}),
    "...x,xy->...y": ((4, 5), 7, "y", {"e": 7}),
    "...A,AB->...B": ((4, 5), 7, "B", {"e": 7}),
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_dense(equation):
    shape, output_shape, bias_axes, expected = EQUATIONS[equation]
    inputs = keras.Input(shape)
    x = layers.Dense(6, name="before")(inputs)
    x = layers.EinsumDense(equation, output_shape=output_shape, bias_axes=bias_axes, name="e")(x)
    x = box_head(x) if len(x.shape) == 3 else layers.Dense(2)(x)
    assert sizes(agrees(keras.Model(inputs, x))) == {"before": 6, **expected}


@pytest.mark.parametrize("bias_axes", ["d", "cd", "dc"])
def test_einsum_biases_follow_the_output(bias_axes):
    inputs = keras.Input((5,))
    x = layers.EinsumDense("ab,bcd->acd", output_shape=(3, 4), bias_axes=bias_axes)(inputs)
    agrees(keras.Model(inputs, box_head(x)))


def test_einsum_biases_along_an_inner_axis_are_left_alone():
    inputs = keras.Input((5,))
    x = layers.EinsumDense("ab,bcd->acd", output_shape=(3, 4), bias_axes="c", name="e")(inputs)
    agrees(keras.Model(inputs, box_head(x)), pinned=[("e.c, e: 7 channels stay", "along the wrong axis")], power=None)


@pytest.mark.parametrize(("columns", "left"), [(3, 6), (7, 4), (12, 0), (13, 6)])
def test_einsum_biases_along_an_inner_axis_of_known_sizes(columns, left):
    """Twelve channels between axes of 5 and `columns` positions: Keras takes the bias for one of either."""
    inputs = keras.Input((5, columns, 4))
    x = layers.EinsumDense("abcd,de->abec", output_shape=(5, 12, columns), bias_axes="e", name="e")(inputs)
    groups = agrees(keras.Model(inputs, head(x)), pinned=[("e", "along the wrong axis")], power=-1 if left else None)
    assert groups.channels == left


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_in_reverse(tied):
    tokens = keras.Input((5,), dtype="int32")
    embedding = layers.ReversibleEmbedding(7, 8, tie_weights=tied, mask_zero=True, logit_soft_cap=2.0, name="e")
    x = embedding(tokens)
    x = layers.Add()([x, layers.Dense(8)(layers.Dense(6, "relu", name="wide")(x))])
    model = keras.Model(tokens, embedding(x, reverse=True))
    assert sizes(agrees(model)) == {"e": 8, "wide": 6}
    assert complexity(model).macs == 5 * (8 * 6 + 6 * 8 + 8 * 7)


@pytest.mark.parametrize("equation", ["abc,cdb->abd", "ab...,bc->ac..."])
def test_other_einsum_equations_are_left_alone(equation):
    inputs = keras.Input((4, 5))
    x = layers.Dense(5)(inputs)
    output_shape = (4, 6) if equation == "abc,cdb->abd" else 6
    x = layers.EinsumDense(equation, output_shape=output_shape, name="e")(x)
    x = layers.Dense(3, name="after")(x)
    groups = agrees(keras.Model(inputs, head(x)), pinned=[("e (EinsumDense)", "no rule for the equation")])
    assert sizes(groups) == {"after": 3}


def test_layers_with_other_weights_are_left_alone():
    inputs = keras.Input((6,))
    adapted, quantized = layers.Dense(8, name="adapted"), layers.Dense(7, name="quantized")
    x = layers.Dense(4, name="free")(quantized(adapted(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(x))
    adapted.enable_lora(2)
    quantized.quantize("int8")
    other = "quantized or have low-rank additions"
    groups = agrees(model, pinned=[("adapted, quantized (Dense)", other)])
    assert sizes(groups) == {"free": 4}


class Standardized(layers.Conv2D):
    """Replaces something other than `call`."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel, (0, 1, 2), keepdims=True))


class Plain(layers.Conv2D):
    def __init__(self, filters, kernel_size=3, **options):
        super().__init__(filters, kernel_size, **options)


def test_classes_that_replace_methods_do_not_have_the_rule_of_their_base():
    inputs = keras.Input((6, 6, 3))
    x = Standardized(5, 1, name="other")(Plain(6, name="plain")(inputs))
    groups = agrees(keras.Model(inputs, head(x)), pinned=[("plain", "6 channels stay because of other (Standardized)")])
    assert sizes(groups) == {"other": 5}  # a trial: only what it reads is mixed
    assert sizes(agrees(tail(inputs, Plain(6, name="plain")))) == {"plain": 6}


def test_the_last_layer_stays():
    inputs = keras.Input((6,))
    assert len(channel_groups(keras.Model(inputs, layers.Dense(3)(inputs)))) == 0
