"""Layers without a rule that normalize over channels, or produce them, are found; what only resembles them is not."""

import keras
import numpy as np
import pytest

from tests.graph.agreement import agrees, example_inputs, is_ordinary, outputs, random_mask, sizes
from tfprune.graph import channel_groups, complexity, executable_groups, masked, slim
from tfprune.graph.rules.lookup import has_rule
from tfprune.graph.traced_cost import traced_flops

layers = keras.layers
ops = keras.ops


class PerChannel(layers.Layer):
    """Has a scale and an offset per channel; subclasses say what is scaled."""

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")

    def call(self, inputs):
        return self.scaled(inputs) * self.scale + self.beta

    def scaled(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("trials")
class RootMeanSquare(PerChannel):
    pass


@keras.saving.register_keras_serializable("trials")
class Offset(layers.Layer):
    """Multiplies by one more than its weight, in float32, whatever else is computed in."""

    def __init__(self, epsilon=1e-5, **settings):
        super().__init__(**settings)
        self.epsilon = epsilon

    def build(self, shape):
        self.weight = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="weight")

    def call(self, x):
        wide = ops.cast(x, "float32")
        wide = wide / ops.sqrt(ops.mean(wide * wide, -1, keepdims=True) + self.epsilon)
        return ops.cast(wide * (1 + ops.cast(self.weight, "float32")), self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("trials")
class Centered(PerChannel):
    def scaled(self, x):
        x = x - ops.mean(x, -1, keepdims=True)
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-3)


@keras.saving.register_keras_serializable("trials")
class ByLargest(PerChannel):
    def scaled(self, x):
        return x / (ops.max(ops.abs(x), -1, keepdims=True) + 1e-6)


@keras.saving.register_keras_serializable("trials")
class Sized(layers.Layer):
    """Has its width as a setting, and divides the sum by that; its images may have channels first."""

    def __init__(self, dim, data_format="channels_last", **settings):
        super().__init__(**settings)
        self.dim, self.data_format = dim, data_format
        self.gamma = self.add_weight(shape=(dim,), initializer="ones", name="gamma")

    def call(self, x):
        axis = 1 if self.data_format == "channels_first" else -1
        shape = [1] * len(x.shape)
        shape[axis] = self.dim
        square = ops.sum(ops.square(x), axis, keepdims=True) / self.dim
        return x * ops.rsqrt(square + 1e-6) * ops.reshape(self.gamma, shape)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "data_format": self.data_format}


def root_mean_square(x):
    return x / np.sqrt(np.mean(np.square(x), -1, keepdims=True))


def centered(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + 1e-3)


NORMALIZATIONS = {
    "root mean square": (RootMeanSquare, lambda x, scale, beta: root_mean_square(x) * scale + beta),
    "offset": (Offset, lambda x, weight: root_mean_square(x) * (1 + weight)),
    "centered": (Centered, lambda x, scale, beta: centered(x) * scale + beta),
    "largest": (ByLargest, lambda x, scale, beta: x / np.abs(x).max(-1, keepdims=True) * scale + beta),
    "sized": (lambda: Sized(8), lambda x, gamma: root_mean_square(x) * gamma),
    "lambda": (
        lambda: layers.Lambda(lambda x: x / (ops.std(x, -1, keepdims=True) + 1e-6)),
        lambda x: x / x.std(-1, keepdims=True),
    ),
}


def block(layer, shape=(5, 3), width=8):
    """`layer` between one that makes its channels and one that reads them."""
    inputs = keras.Input(shape)
    x = layer(layers.Dense(width, name="make")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def draw_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, 1, weight.shape))


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_a_normalization_uses_the_statistics_of_the_channels_that_are_kept(name, tmp_path):
    make, formula = NORMALIZATIONS[name]
    model = block(make())
    draw_weights(model)
    groups = channel_groups(model)
    assert sizes(groups) == {"make": 8}
    assert groups.pinned == ()
    kept = np.isin(np.arange(8), [1, 2, 4, 5, 7])
    small = slim(model, kept, groups)
    x = example_inputs(model)
    first, between, head = model.layers[1:]
    value = (x @ np.asarray(first.kernel) + np.asarray(first.bias))[..., kept]
    value = formula(value, *(np.asarray(weight)[..., kept] for weight in between.weights))
    expected = value @ np.asarray(head.kernel)[kept] + np.asarray(head.bias)
    np.testing.assert_allclose(small(x), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(masked(model, kept, groups)(x), expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(model(x), expected, rtol=0.05, atol=0.05)
    agrees(model)
    if name != "lambda":
        is_ordinary(model, groups, tmp_path)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("kind", [RootMeanSquare, Offset, Centered])
def test_normalizations_of_any_width_are_found(kind, width):
    groups = channel_groups(block(kind(), width=width))
    assert sizes(groups) == {"make": width}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", [RootMeanSquare, Offset, Centered, ByLargest])
def test_normalizations_are_found_in_any_dtype(kind, policy):
    groups = channel_groups(block(kind(dtype=policy), width=32))
    assert sizes(groups) == {"make": 32}
    assert groups.pinned == ()


def test_a_small_effect_of_other_channels_shows_in_half_precision():
    class Leaky(PerChannel):
        def call(self, inputs):
            return super().call(inputs) + 1e-4 * ops.roll(super().call(inputs), 1, -1)

    assert channel_groups(block(Leaky(dtype="mixed_bfloat16"))).channels == 0


def test_channels_before_positions_are_normalized():
    inputs = keras.Input((3, 6, 6))
    x = layers.Conv2D(8, 3, data_format="channels_first", use_bias=False, name="make")(inputs)
    x = Sized(8, "channels_first")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    assert sizes(agrees(model)) == {"make": 8}


def test_heads_go_through_the_normalization_of_each():
    inputs = keras.Input((5, 6))
    x = layers.EinsumDense("btd,dhk->bthk", (None, 4, 8), name="make")(inputs)
    x = RootMeanSquare()(x)
    model = keras.Model(inputs, layers.EinsumDense("bthk,hkd->btd", (None, 3), name="head")(x))
    groups = agrees(model)
    assert sizes(groups) == {"make.h": 4, "make": 8}


def test_normalizations_in_a_row_share_one_width():
    inputs = keras.Input((5, 3))
    x = layers.Dense(8, name="make")(inputs)
    for number in range(2):
        inner = layers.Dense(6, activation="relu", name=f"wide_{number}")(Offset()(x))
        x = layers.Add()([x, layers.Dense(8, name=f"back_{number}")(inner)])
    groups = agrees(keras.Model(inputs, layers.Dense(3, name="head")(RootMeanSquare()(x))))
    assert sizes(groups) == {"make": 8, "wide_0": 6, "wide_1": 6}
    assert groups[0].layers == ("make", "back_0", "back_1")


def test_what_was_found_by_trial_costs_nothing_and_is_not_resized_by_a_search():
    model = block(RootMeanSquare())
    assert complexity(model).macs == 5 * 3 * 8 + 5 * 8 * 3
    assert complexity(model).uncounted == ()
    assert executable_groups(model).channels == 0


class Softmax(PerChannel):
    def scaled(self, x):
        return ops.softmax(x)


class ScaledSoftmax(PerChannel):
    """A softmax whose sum is the number of channels, of values without a scale."""

    def scaled(self, x):
        return ops.softmax(centred_by_deviation(x)) * x.shape[-1]


def centred_by_deviation(x):
    return (x - ops.mean(x, -1, keepdims=True)) / (ops.std(x, -1, keepdims=True) + 1e-6)


class OverBatch(PerChannel):
    def scaled(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), (0, -1), keepdims=True) + 1e-6)


class OverTokens(PerChannel):
    def scaled(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), (1, 2), keepdims=True) + 1e-6)


class ByPosition(PerChannel):
    def scaled(self, x):
        position = ops.reshape(ops.arange(1, x.shape[1] + 1, dtype="float32"), (1, -1, 1))
        return super().scaled(x) * position


class WeightPerPosition(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], initializer="ones", name="scale")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6) * self.scale


class Rotated(layers.Layer):
    """Its weight is a matrix."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]), name="matrix")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6) @ self.matrix


class InTwoGroups(PerChannel):
    def scaled(self, x):
        parts = ops.reshape(x, (-1, x.shape[1], 2, x.shape[-1] // 2))
        parts = parts * ops.rsqrt(ops.mean(ops.square(parts), -1, keepdims=True) + 1e-6)
        return ops.reshape(parts, (-1, *x.shape[1:]))


class OfUnitLength(PerChannel):
    """Divides by the sum, which is another one for each width, not by the mean."""

    def scaled(self, x):
        return x * ops.rsqrt(ops.sum(ops.square(x), -1, keepdims=True) + 1e-6)


class FixedWidth(PerChannel):
    def scaled(self, x):
        return x * ops.rsqrt(ops.sum(ops.square(x), -1, keepdims=True) / 8 + 1e-6)


class Ranks(PerChannel):
    def scaled(self, x):
        return ops.cast(ops.argsort(ops.argsort(x, -1), -1), "float32") / x.shape[-1]


class Sign(PerChannel):
    def scaled(self, x):
        return ops.sign(x - ops.mean(x, -1, keepdims=True))


class Squashed(PerChannel):
    def scaled(self, x):
        return ops.tanh(centred_by_deviation(x))


class OnlyCentered(PerChannel):
    def scaled(self, x):
        return x - ops.mean(x, -1, keepdims=True)


class ByFirst(PerChannel):
    def scaled(self, x):
        return x / (ops.abs(x[..., :1]) + 1e-6)


class WeightsOfAll(PerChannel):
    """Divides its scale by the mean of it."""

    def call(self, inputs):
        return self.scaled(inputs) * self.scale / (ops.mean(ops.abs(self.scale)) + 1e-6)


class Shortcut(PerChannel):
    def scaled(self, x):
        return x + super().scaled(x)


class Noisy(PerChannel):
    def scaled(self, x):
        return super().scaled(x) + keras.random.normal(ops.shape(x), stddev=1e-3)


class Counting(PerChannel):
    """Keeps a state."""

    def build(self, shape):
        super().build(shape)
        self.steps = self.add_weight(shape=(), initializer="zeros", trainable=False, name="steps")

    def scaled(self, x):
        self.steps.assign_add(1.0)
        return super().scaled(x) * self.steps


@pytest.mark.parametrize(
    "kind",
    [
        *(
            Softmax,
            ScaledSoftmax,
            OverBatch,
            OverTokens,
            ByPosition,
            WeightPerPosition,
            Rotated,
            InTwoGroups,
            OfUnitLength,
        ),
        *(FixedWidth, Ranks, Sign, Squashed, OnlyCentered, ByFirst, WeightsOfAll, Shortcut, Noisy, Counting),
    ],
)
def test_what_resembles_a_normalization_is_left_alone(kind):
    model = block(kind())
    groups = channel_groups(model)
    assert groups.channels == 0
    assert any(f"no rule for {kind.__name__}" in text and "holds make (8 channels)" in text for text in groups.pinned)


@keras.saving.register_keras_serializable("trials")
class Patches(layers.Layer):
    """Cuts images into patches, and adds a class token and positions, all with weights of its own."""

    def __init__(self, dim, patch=4, **settings):
        super().__init__(**settings)
        self.dim, self.patch = dim, patch

    def build(self, shape):
        rows = (shape[1] // self.patch) ** 2
        self.kernel = self.add_weight(shape=(self.patch * self.patch * shape[-1], self.dim), name="kernel")
        self.token = self.add_weight(shape=(self.dim,), initializer="zeros", name="token")
        self.positions = self.add_weight(shape=(1, rows + 1, self.dim), initializer="zeros", name="positions")

    def call(self, images):
        size, channels = images.shape[1] // self.patch, images.shape[-1]
        x = ops.reshape(images, (-1, size, self.patch, size, self.patch, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, size * size, self.patch * self.patch * channels))
        x = ops.matmul(x, self.kernel)
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, self.dim))
        return ops.concatenate([token, x], axis=1) + self.positions

    def compute_output_shape(self, shape):
        return (shape[0], (shape[1] // self.patch) ** 2 + 1, self.dim)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim, "patch": self.patch}


@keras.saving.register_keras_serializable("trials")
class Words(layers.Layer):
    """A table of words, and one of their positions."""

    def __init__(self, words, length, dim, **settings):
        super().__init__(**settings)
        self.words, self.length, self.dim = words, length, dim

    def build(self, shape):
        self.table = self.add_weight(shape=(self.words, self.dim), name="table")
        self.positions = self.add_weight(shape=(self.length, self.dim), name="positions")

    def call(self, numbers):
        return ops.take(self.table, numbers, axis=0) + self.positions[: numbers.shape[1]]

    def compute_output_shape(self, shape):
        return (*shape, self.dim)

    def get_config(self):
        return {**super().get_config(), "words": self.words, "length": self.length, "dim": self.dim}


@keras.saving.register_keras_serializable("trials")
class Queries(layers.Layer):
    """Trained vectors, as many for each example; the input only says how many examples there are."""

    def __init__(self, dim, **settings):
        super().__init__(**settings)
        self.dim = dim
        self.queries = self.add_weight(shape=(1, 3, dim), name="queries")

    def call(self, x):
        return ops.broadcast_to(self.queries, (ops.shape(x)[0], 3, self.dim))

    def compute_output_shape(self, shape):
        return (shape[0], 3, self.dim)

    def get_config(self):
        return {**super().get_config(), "dim": self.dim}


def residual(layer, shape, dtype="float32"):
    """A residual block of the width that `layer` makes."""
    inputs = keras.Input(shape, dtype=dtype)
    x = layer(inputs)
    wide = layers.Dense(6, activation="relu", name="wide")(RootMeanSquare()(x))
    x = layers.Add()([x, layers.Dense(x.shape[-1], name="back")(wide)])
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


PRODUCERS = {
    "patches": (lambda: residual(Patches(8, name="make"), (8, 8, 3)), ["kernel", "token", "positions"], 4 * 48 * 8),
    "patches as wide as they are large": (
        lambda: residual(Patches(4, name="make"), (8, 8, 3)),
        ["kernel", "token", "positions"],
        4 * 48 * 4,
    ),
    "words": (lambda: residual(Words(20, 9, 8, name="make"), (7,), "int32"), ["table", "positions"], 0),
    "few words": (lambda: residual(Words(4, 9, 8, name="make"), (7,), "int32"), ["table", "positions"], 0),
    "queries": (lambda: residual(Queries(8, name="make"), (4, 5)), ["queries"], 0),
}


@pytest.mark.parametrize("name", PRODUCERS)
def test_layers_that_produce_channels_are_found(name, tmp_path):
    make, weights, macs = PRODUCERS[name]
    model = make()
    draw_weights(model)
    groups = agrees(model, traced=True)
    assert groups.pinned == ()
    layer = model.get_layer("make")
    assert groups[0].name == "make"
    assert groups[0].layers == ("make", "back")
    assert groups[0].size == layer.dim
    assert [(slot.weight, slot.axis, slot.role) for slot in groups.slots_of("make")] == [
        (weight, -1, "out") for weight in weights
    ]
    found = {each.layer: each.macs for each in complexity(model).layers}
    assert found["make"] == macs
    assert complexity(model).uncounted == ()
    small = slim(model, random_mask(groups, 1), groups)
    assert small.get_layer("make").dim < layer.dim
    is_ordinary(model, groups, tmp_path)


def test_a_smaller_producer_computes_what_zeros_compute():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Dense(3, name="head")(Patches(8, name="make")(inputs)))
    draw_weights(model)
    kept = np.isin(np.arange(8), [0, 3, 5, 6])
    small = slim(model, kept)
    for weight in model.get_layer("make").weights:
        weight.assign(np.asarray(weight) * kept)
    x = example_inputs(model)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-5, atol=1e-5)


def test_channels_stay_that_a_producer_reads_in_another_order():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, padding="same", name="before")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(Patches(8, name="make")(x)))
    groups = agrees(model, pinned=[("before (Conv2D): 5 channels stay because of make (Patches)", "no rule")])
    assert sizes(groups) == {"make": 8}


@keras.saving.register_keras_serializable("trials")
class Linear(layers.Layer):
    """A dense layer whose weights have names of its own."""

    def __init__(self, width, activation="relu", **settings):
        super().__init__(**settings)
        self.width, self.activation = width, keras.activations.get(activation)

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], self.width), name="matrix")
        self.shift = self.add_weight(shape=(self.width,), initializer="zeros", name="shift")

    def call(self, x):
        return self.activation(ops.matmul(x, self.matrix) + self.shift)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "width": self.width, "activation": activation}


@keras.saving.register_keras_serializable("trials")
class Window(Linear):
    """A convolution."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(3, 3, shape[-1], self.width), name="matrix")
        self.shift = self.add_weight(shape=(self.width,), initializer="zeros", name="shift")

    def call(self, x):
        return self.activation(ops.conv(x, self.matrix, padding="same") + self.shift)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.width)


@keras.saving.register_keras_serializable("trials")
class LowRank(Linear):
    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 4), name="matrix")
        self.shift = self.add_weight(shape=(4, self.width), name="shift")

    def call(self, x):
        return ops.matmul(ops.matmul(x, self.matrix), self.shift)


@keras.saving.register_keras_serializable("trials")
class Doubled(layers.Dense):
    """Overrides `call` of a layer with a rule."""

    def call(self, inputs):
        return 2 * super().call(inputs)


WINDOW = 3 * 3 * 8
PRODUCTS = {
    "linear": (lambda: Linear(7, name="own"), "matrix", "shift", 30 * 8 * 7),
    "as wide as its input": (lambda: Linear(8, name="own"), "matrix", "shift", 30 * 8 * 8),
    "convolution": (lambda: Window(7, name="own"), "matrix", "shift", 30 * WINDOW * 7),
    "low rank": (lambda: LowRank(7, name="own"), "matrix", "shift", 30 * (8 * 4 + 4 * 7)),
    "dense": (lambda: Doubled(7, name="own"), "kernel", "bias", 30 * 8 * 7),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_layers_with_kernels_of_their_own_lose_channels_on_both_sides(name, tmp_path):
    make, kernel, shift, macs = PRODUCTS[name]
    layer = make()
    inputs = keras.Input((5, 6, 3))
    x = layer(layers.Conv2D(8, 3, padding="same", activation="relu", name="before")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))
    draw_weights(model)
    groups = agrees(model, traced=True)
    assert groups.pinned == ()
    assert sizes(groups) == {"before": 8, "own": x.shape[-1]}
    assert [(slot.weight, slot.axis, slot.role) for slot in groups.slots_of("own")] == [
        (kernel, -2, "in"),
        *([] if name == "low rank" else [(kernel, -1, "out")]),
        (shift, -1, "out"),
    ]
    assert {each.layer: each.macs for each in complexity(model).layers}["own"] == macs
    is_ordinary(model, groups, tmp_path)
    kept = np.arange(groups.channels) % 3 != 1
    small, zeroed = slim(model, kept, groups), keras.models.clone_model(model)
    zeroed.set_weights([np.asarray(weight) for weight in model.weights])
    for weight in zeroed.get_layer("before").weights:
        weight.assign(np.asarray(weight) * kept[:8])
    head = zeroed.get_layer("head").kernel
    head.assign(np.asarray(head) * kept[8:, None])
    values = example_inputs(model)
    np.testing.assert_allclose(small(values), zeroed(values), rtol=1e-4, atol=1e-4)


def test_what_a_kernel_reads_can_go_where_its_results_depend_on_one_another():
    inputs = keras.Input((5,))
    x = Linear(6, "softmax", name="own")(layers.Dense(8, name="before")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    groups = agrees(model, pinned=[("own (Linear): 6 channels stay", "it does not compute each of them by itself")])
    assert sizes(groups) == {"before": 8}


@keras.saving.register_keras_serializable("trials")
class Experts(layers.Layer):
    """Gated products within it, by several experts whose results are added; perhaps with a shortcut."""

    def __init__(self, experts, hidden, inner, shortcut=False, **settings):
        super().__init__(**settings)
        self.experts, self.hidden, self.inner, self.shortcut = experts, hidden, inner, shortcut

    def build(self, shape):
        self.gate = self.add_weight(shape=(self.experts, self.hidden, self.inner), name="gate")
        self.up = self.add_weight(shape=(self.experts, self.hidden, self.inner), name="up")
        self.down = self.add_weight(shape=(self.experts, self.inner, self.hidden), name="down")

    def call(self, x):
        gate = ops.silu(ops.einsum("bth,ehm->betm", x, self.gate))
        wide = gate * ops.einsum("bth,ehm->betm", x, self.up)
        result = ops.sum(ops.einsum("betm,emh->beth", wide, self.down), axis=1)
        return x + result if self.shortcut else result

    def get_config(self):
        own = {key: getattr(self, key) for key in ("experts", "hidden", "inner", "shortcut")}
        return {**super().get_config(), **own}


@pytest.mark.parametrize("shortcut", [False, True])
def test_widths_within_a_layer_are_its_settings(shortcut, tmp_path):
    model = block(Experts(3, 8, 6, shortcut, name="own"))
    draw_weights(model)
    groups = agrees(model, traced=True)
    assert groups.pinned == ()
    assert sizes(groups) == {"make": 8, "own.experts": 3, "own.inner": 6}
    roles = {(slot.weight, slot.axis): slot.role for slot in groups.slots_of("own")}
    assert {key for key, role in roles.items() if role == "in"} == {
        *(("gate", -2), ("up", -2), ("down", -2), ("down", -3)),
    }
    assert {each.layer: each.macs for each in complexity(model).layers}["own"] == 5 * 3 * 3 * 8 * 6
    is_ordinary(model, groups, tmp_path)
    parts = {group.name: group.channels for group in groups}
    kept = np.ones(groups.channels, bool)
    kept[parts["own.inner"]] = [True, False, True, True, False, True]
    kept[parts["own.experts"]] = [False, True, True]
    small, layer = slim(model, kept, groups), model.get_layer("own")
    assert (small.get_layer("own").experts, small.get_layer("own").inner) == (2, 4)
    down = np.array(np.asarray(layer.down))
    down[0] = 0
    down[:, [1, 4]] = 0
    layer.down.assign(down)
    x = example_inputs(model)
    np.testing.assert_allclose(small(x), model(x), rtol=1e-4, atol=1e-4)


def test_numbers_that_are_no_widths_stay():
    model = residual(Words(4, 9, 8, name="make"), (7,), "int32")
    assert set(sizes(channel_groups(model))) == {"make", "wide"}


def test_channels_that_a_layer_ignores_can_go():
    inputs = keras.Input((4, 5))
    x = layers.Dense(6, name="before")(inputs)
    y = layers.Add()([layers.GlobalAveragePooling1D()(x), layers.Dense(6)(inputs[:, 0])])
    queries = layers.GlobalAveragePooling1D()(Queries(8, name="make")(x))
    groups = agrees(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([queries, y]))))
    assert sizes(groups) == {"before": 6, "make": 8}
    assert groups.pinned == ()


class Mixing(Patches):
    def call(self, images):
        return ops.cumsum(super().call(images), axis=-1)


class Normalizing(Patches):
    def call(self, images):
        x = super().call(images)
        return x / ops.sqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6)


class Unsaid(Patches):
    """Has no setting that is its width."""

    def __init__(self, half, patch=4, **settings):
        super().__init__(2 * half, patch, **settings)
        self.half = half

    def get_config(self):
        config = super().get_config()
        del config["dim"]
        return config | {"half": self.half}


class Twice(Words):
    """Two settings must be equal."""

    def __init__(self, words, length, dim, width, **settings):
        super().__init__(words, length, dim, **settings)
        self.width = width

    def build(self, shape):
        super().build(shape)
        self.shift = self.add_weight(shape=(self.width,), name="shift")

    def call(self, numbers):
        return super().call(numbers) + self.shift

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@pytest.mark.parametrize(
    ("layer", "shape", "dtype"),
    [
        (Mixing(8, name="make"), (8, 8, 3), "float32"),
        (Normalizing(8, name="make"), (8, 8, 3), "float32"),
        (Unsaid(4, name="make"), (8, 8, 3), "float32"),
        (Twice(20, 9, 8, 8, name="make"), (7,), "int32"),
    ],
    ids=["mixing", "normalizing", "unsaid", "two settings"],
)
def test_what_does_not_make_each_channel_by_itself_is_left_alone(layer, shape, dtype):
    inputs = keras.Input(shape, dtype=dtype)
    wide = layers.Dense(6, activation="relu", name="wide")(layer(inputs))
    groups = agrees(keras.Model(inputs, layers.Dense(3)(wide)), pinned=[("make", "no rule for")])
    assert sizes(groups) == {"wide": 6}


def test_a_producer_called_twice_has_one_width():
    first, second = keras.Input((7,), dtype="int32"), keras.Input((5,), dtype="int32")
    words = Words(20, 9, 8, name="make")
    x = layers.Concatenate(axis=1)([words(first), words(second)])
    groups = agrees(keras.Model([first, second], layers.Dense(3)(x)))
    assert sizes(groups) == {"make": 8}


def test_trying_a_layer_keeps_its_weights_and_its_inputs():
    model = residual(Words(20, 9, 8, name="make"), (7,), "int32")
    before = [np.asarray(weight).copy() for weight in model.weights]
    x = example_inputs(model)
    expected = outputs(model, x)
    channel_groups(model)
    assert not has_rule(model.get_layer("make"))
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    np.testing.assert_array_equal(outputs(model, x), expected)


def test_the_cost_of_a_producer_is_what_tensorflow_computes():
    model = residual(Patches(8, name="make"), (8, 8, 3))
    groups = channel_groups(model)
    small = slim(model, np.arange(groups.channels) % 2 == 0, groups)
    (call,) = [call for call in channel_groups(small).calls if call.name == "make"]
    assert traced_flops(call) == 4 * 48 * 4
    assert {each.layer: each.macs for each in complexity(small).layers}["make"] == 4 * 48 * 4
