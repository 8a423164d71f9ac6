from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

from tests.models import nested_blocks, residual_blocks_model
from tests.opaque_layers import Branching, Stack
from tfprune.criteria import Cosine
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import ModelClassWarning, residual_blocks, without_blocks

layers = keras.layers
IMAGES = np.random.default_rng(5).normal(size=(3, 6, 6, 3)).astype(np.float32)


def names(model):
    return [block.name for block in residual_blocks(model)]


def without(model, *dropped):
    return without_blocks(model, [block for block in residual_blocks(model) if block.name in dropped])


def assert_same(one, other, x):
    for a, b in zip(keras.tree.flatten(one(x)), keras.tree.flatten(other(x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def zeroed(model, *names):
    """Lets layers return zeros: what is added to the other term of a sum is then nothing."""
    for name in names:
        for weight in model.get_layer(name).weights:
            weight.assign(ops.zeros_like(weight))
    return model


def twin(model):
    new = keras.models.clone_model(model)
    new.set_weights(model.get_weights())
    return new


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_a_block_that_is_left_out_is_one_whose_branch_is_zero(activation):
    model = residual_blocks_model(3, activation=activation)
    blocks = residual_blocks(model)
    assert [block.name for block in blocks] == ["add0", "add1", "add2"]
    assert blocks[1].layers == ("conv1a", "conv1b", "add1")
    before = model.get_weights()
    small = without(model, "add0", "add2")
    assert_same(small, zeroed(twin(model), "conv0b", "conv2b"), IMAGES)
    assert names(small) == ["add1"]
    kept = {layer.name for layer in model.layers} - {"conv0a", "conv0b", "add0", "conv2a", "conv2b", "add2"}
    assert {layer.name for layer in small.layers} == kept
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert names(model) == ["add0", "add1", "add2"]


def test_all_blocks_can_go():
    model = residual_blocks_model(2, activation="relu")
    small = without(model, "add0", "add1")
    assert_same(small, zeroed(twin(model), "conv0b", "conv1b"), IMAGES)
    assert names(small) == []


def test_attention_and_mlp_are_two_blocks():
    inputs = x = keras.Input((4, 8))
    for number in range(2):
        y = layers.LayerNormalization(name=f"norm{number}a")(x)
        x = x + layers.MultiHeadAttention(2, 4, name=f"attention{number}")(y, y)
        y = layers.Dense(12, activation="gelu", name=f"up{number}")(layers.LayerNormalization(name=f"norm{number}b")(x))
        x = layers.Add(name=f"mlp{number}")([layers.Dense(8, name=f"down{number}")(y), x])
    model = keras.Model(inputs, x)
    blocks = residual_blocks(model)
    assert [block.layers[-2] for block in blocks] == ["attention0", "down0", "attention1", "down1"]
    small = without_blocks(model, [blocks[0], blocks[3]])
    reference = twin(model)
    zeroed(reference, "down1")
    for weight in reference.get_layer("attention0").output_dense.weights:
        weight.assign(ops.zeros_like(weight))
    assert_same(small, reference, np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32))


def test_branches_side_by_side():
    inputs = keras.Input((5,))
    y = layers.LayerNormalization(name="norm")(inputs)
    first = layers.Add(name="first")([inputs, layers.Dense(5, name="attention")(y)])
    second = layers.Add(name="second")([first, layers.Dense(5, name="mlp")(y)])
    three = layers.Add(name="three")([layers.Dense(5, name="a")(second), second, layers.Dense(5, name="b")(second)])
    model = keras.Model(inputs, three)
    assert names(model) == ["first", "second", "three"]
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    assert_same(without(model, "second"), zeroed(twin(model), "mlp"), x)
    assert_same(without(model, "three"), zeroed(twin(model), "a", "b"), x)
    bare = without(model, "first", "second")
    assert_same(bare, zeroed(twin(model), "attention", "mlp"), x)
    assert "norm" not in [layer.name for layer in bare.layers]


@pytest.mark.parametrize(
    "build",
    [
        lambda x: layers.Add()([layers.Dense(4)(x), layers.Dense(4)(layers.ReLU()(x))]),  # no term is the input
        lambda x: layers.Add()([layers.Dense(4)(x)] * 2),
        lambda x: x + layers.LayerNormalization()(x),  # nothing is multiplied by kernels
        lambda x: x + x * x * 0.1,
        lambda x: layers.Add()([x, x, layers.Dense(4)(x)]),  # twice the input
        lambda x: layers.Multiply()([x, layers.Dense(4)(x)]),
        lambda x: (lambda h: [layers.Add()([x, h]), h])(layers.Dense(4)(x)),  # the branch is used elsewhere
        lambda x: (lambda parts: parts[0] + layers.Dense(2)(parts[1]))(ops.split(x, 2, axis=-1)),
        lambda x: (lambda d: d(layers.Add()([x, d(x)])))(layers.Dense(4)),  # its kernel is used elsewhere
        lambda x: layers.Dense(1)(x) + layers.Dense(4)(layers.Dense(1)(x)),
        lambda x: (lambda h: h + layers.Dense(4)(h))(layers.Dense(1)(x)),  # the sum is wider than the term
    ],
)
def test_what_is_no_block(build):
    inputs = keras.Input((4,))
    assert names(keras.Model(inputs, build(inputs))) == []


def test_the_innermost_blocks_count():
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="first")(inputs)
    y = layers.Dense(4, name="before")(x)
    y = layers.Add(name="inner")([y, layers.Dense(4, name="branch")(y)])
    model = keras.Model(inputs, layers.Add(name="outer")([x, layers.Dense(4, name="after")(y)]))
    assert names(model) == ["inner"]
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    assert_same(without(model, "inner"), zeroed(twin(model), "branch"), x)


def test_a_sum_of_many_calls_names_its_blocks_by_number():
    inputs = x = keras.Input((4,))
    add = layers.Add(name="add")
    for number in range(3):
        x = add([x, layers.Dense(4, name=f"branch{number}")(x)])
    model = keras.Model(inputs, x)
    assert names(model) == ["add", "add:2", "add:3"]
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    assert_same(without(model, "add:2"), zeroed(twin(model), "branch1"), x)


def test_blocks_within_nested_models():
    inner = residual_blocks_model(2, activation="relu", name="inner")
    outer_inputs = keras.Input((6, 6, 3))
    model = keras.Model(outer_inputs, layers.Dense(3, name="head")(inner(outer_inputs)))
    assert names(model) == ["inner/add0", "inner/add1"]
    small = without(model, "inner/add1")
    reference = twin(model)
    zeroed(reference.get_layer("inner"), "conv1b")
    assert_same(small, reference, IMAGES)
    over_time = keras.Input((2, 6, 6, 3))
    model = keras.Model(over_time, layers.TimeDistributed(inner, name="timed")(over_time))
    assert names(model) == ["timed/add0", "timed/add1"]
    small = without(model, "timed/add0")
    np.testing.assert_allclose(
        small(IMAGES[None, :2])[0], zeroed(twin(inner), "conv0b")(IMAGES[:2]), rtol=1e-5, atol=1e-6
    )


def test_a_model_that_is_called_twice_keeps_its_blocks():
    assert names(keras.Model(*nested_blocks(6, 4))) == []


def test_other_inputs_of_a_branch_go_with_it_if_nothing_else_needs_them():
    inputs, condition = keras.Input((4,), name="x"), keras.Input((2,), name="condition")
    shared = layers.Dense(4, name="shared")(condition)
    x = inputs
    for number in range(2):
        own = layers.Dense(4, name=f"own{number}")(condition)
        y = layers.Dense(4, name=f"branch{number}")(x + shared + own if number else x + own + shared)
        x = layers.Add(name=f"add{number}")([x, y])
    model = keras.Model([inputs, condition], x)
    assert {*residual_blocks(model)[0].layers} >= {"own0", "branch0", "add0"}
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 2)).astype(np.float32)]
    small = without(model, "add0")
    assert "own0" not in [layer.name for layer in small.layers]
    assert_same(small, zeroed(twin(model), "branch0"), data)
    neither = without(model, "add0", "add1")
    np.testing.assert_array_equal(neither(data), data[0])


@keras.saving.register_keras_serializable("tests")
class Encoder(keras.layers.Layer):
    """A residual block as one layer; `form` says how it adds, `shape` in which shape."""

    def __init__(self, form="before", **options):
        super().__init__(**options)
        self.form = form
        self.norm, self.up, self.down = layers.LayerNormalization(), layers.Dense(7, "relu"), layers.Dense(4)

    def build(self, shape):
        self.norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 7))

    def call(self, inputs, mask_input=None):
        if self.form == "none":
            return self.down(self.up(inputs))
        if self.form == "values":
            return inputs + float(ops.sum(inputs))
        if self.form == "scaled":
            return self.norm(inputs) + self.norm.gamma
        added = self.down(self.up(self.norm(inputs) if self.form == "before" else inputs))
        if mask_input is not None:
            added = added * ops.cast(mask_input, added.dtype)[..., None]
        summed = inputs + added
        return summed if self.form == "before" else self.norm(summed)

    def get_config(self):
        return super().get_config() | {"form": self.form}


@pytest.mark.parametrize("form", ["before", "after"])
def test_a_layer_that_holds_a_residual_connection_is_a_block(form):
    inputs, mask = keras.Input((3, 4)), keras.Input((3,), dtype="int32")
    blocks = [Encoder(form, name=f"block{number}") for number in range(3)]
    x = inputs
    for block in blocks:
        x = block(x, mask_input=mask)
    model = keras.Model([inputs, mask], layers.Dense(2, name="head")(x))
    assert names(model) == ["block0", "block1", "block2"]
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    x, m = rng.normal(size=(2, 3, 4)).astype(np.float32), np.array([[1, 1, 0], [1, 0, 0]])
    by_hand = model.get_layer("head")(blocks[2](blocks[0](x, mask_input=m), mask_input=m))
    small = without(model, "block1")
    np.testing.assert_allclose(small([x, m]), by_hand, rtol=1e-5, atol=1e-6)
    assert [layer.name for layer in small.layers if isinstance(layer, Encoder)] == ["block0", "block2"]


@pytest.mark.parametrize("form", ["none", "values", "scaled"])
def test_layers_that_hold_none(form):
    """One without a sum, one that cannot be traced, one that adds without products."""
    layer = Encoder(form)
    layer.build((None, 4))
    inputs = keras.Input((4,))
    assert names(keras.Model(inputs, Raw(layer)(inputs) if form == "values" else layer(inputs))) == []


class Raw(keras.layers.Layer):
    """A layer whose symbolic call is not that of what it calls."""

    def __init__(self, layer, **options):
        super().__init__(**options)
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def test_a_shared_layer_stays():
    block = Encoder()
    inputs = keras.Input((3, 4))
    assert names(keras.Model(inputs, block(block(inputs)))) == []


@keras.saving.register_keras_serializable("tests")
class WithBias(Encoder):
    """A block that hands a second tensor on, which the first one makes."""

    def call(self, inputs, bias=None):
        bias = ops.mean(inputs, axis=-1, keepdims=True) if bias is None else bias
        return inputs + self.down(self.up(inputs)) * bias, bias


def test_what_a_layer_hands_on_unchanged_is_passed_on():
    inputs = keras.Input((3, 4))
    blocks = [WithBias(name=f"block{number}") for number in range(3)]
    x, bias = blocks[0](inputs)
    for block in blocks[1:]:
        x, bias = block(x, bias=bias)
    model = keras.Model(inputs, [x, bias])
    assert names(model) == ["block1", "block2"]  # the first one makes the second tensor
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    y, bias = blocks[0](x)
    for one, other in zip(without(model, "block1")(x), blocks[2](y, bias=bias), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(without(model, "block1", "block2")(x), (y, bias), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_sequential_models_stay_sequential():
    model = keras.Sequential([keras.Input((3, 4)), *(Encoder(name=f"b{number}") for number in range(3))], name="seq")
    assert names(model) == ["b0", "b1", "b2"]
    small = without(model, "b1")
    assert type(small) is keras.Sequential
    assert [layer.name for layer in small.layers] == ["b0", "b2"]
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(small(x), model.layers[2](model.layers[0](x)), rtol=1e-5, atol=1e-6)


class Owner(keras.Model):
    """A model of a class of its own, with lists of its layers."""

    def __init__(self, count=3, **options):
        inputs = keras.Input((3, 4))
        blocks = [Encoder(name=f"block{number}") for number in range(count)]
        x = inputs
        for block in blocks:
            x = block(x)
        super().__init__(inputs, x, **options)
        self.blocks, self.named = blocks, {block.name: block for block in blocks}
        self.first, self.count, self.pair = blocks[0], count, tuple(blocks[:2])
        self.middle = keras.Model(inputs, blocks[1].output)

    def through_the_list(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.filterwarnings("ignore::tfprune.graph.ModelClassWarning")
def test_attributes_of_a_class_lose_the_layers():
    model = Owner(name="owner")
    small = without(model, "block1")
    assert isinstance(small, Owner)
    assert [block.name for block in small.blocks] == ["block0", "block2"]
    assert list(small.named) == ["block0", "block2"]
    assert small.first is small.blocks[0] is small.get_layer("block0")
    assert small.pair == (small.first,)
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(small.through_the_list(x), small(x), rtol=1e-6)
    assert len(small.variables) == 2 * len(model.blocks[0].variables)
    np.testing.assert_allclose(small.middle(x), small.first(x), rtol=1e-6)


def test_an_attribute_that_is_a_dropped_layer_is_named():
    model = Owner(name="owner")
    with pytest.warns(ModelClassWarning, match="its copy lacks first"):
        small = without(model, "block0")
    assert not hasattr(small, "first")


def test_blocks_of_two_readings_are_refused():
    model = residual_blocks_model(2)
    with pytest.raises(ConfigError, match="expected those of one call of residual_blocks"):
        without_blocks(model, [residual_blocks(model)[0], residual_blocks(model)[1]])


@pytest.mark.parametrize("model", ["keras", None])
def test_what_has_no_graph_is_refused(model):
    with pytest.raises(UnsupportedLayerError, match="expected a functional or sequential model"):
        residual_blocks(model)


def test_copies_are_compiled_saved_loaded_and_trained(tmp_path):
    model = residual_blocks_model(3, activation="relu")
    model.compile("adam", "sparse_categorical_crossentropy")
    small = without(model, "add1")
    small.fit(IMAGES, np.array([0, 1, 1]), verbose=0)
    small.save(tmp_path / "small.keras")
    assert_same(keras.saving.load_model(tmp_path / "small.keras"), small, IMAGES)


@pytest.fixture
def stacks():
    """Two layers of two blocks each, between dense layers."""
    inputs = keras.Input((5,))
    x = layers.Dense(6, name="before")(inputs)
    x = Stack(8, name="second")(Stack(8, name="first")(x))
    model = keras.Model(inputs, layers.Dense(2, name="after")(x))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def test_layers_that_hold_several_blocks_are_opened(stacks):
    assert names(stacks) == [f"{stack}/block_{number}" for stack in ("first", "second") for number in range(2)]
    small = without(stacks, "first/block_1")
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    first, second = (stacks.get_layer(name) for name in ("first", "second"))
    by_hand = stacks.get_layer("after")(second(first.blocks[0](stacks.get_layer("before")(x))))
    np.testing.assert_allclose(small(x), by_hand, rtol=1e-5, atol=1e-5)
    assert isinstance(small.get_layer("second"), Stack)  # nothing of it goes
    assert names(small) == ["first/block_0", "second/block_0", "second/block_1"]
    neither = without(stacks, "first/block_0", "first/block_1", "second/block_0")
    by_hand = stacks.get_layer("after")(second.blocks[1](stacks.get_layer("before")(x)))
    np.testing.assert_allclose(neither(x), by_hand, rtol=1e-5, atol=1e-5)


def test_where_classes_stay_blocks_within_a_layer_do_too(stacks):
    assert residual_blocks(stacks, keep_classes=True) == ()


def test_copies_of_opened_layers_are_saved_loaded_and_trained(stacks, tmp_path):
    small = without(stacks, "second/block_0")
    small.compile("sgd", "mse")
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    small.fit(x, np.zeros((3, 2)), verbose=0)
    small.save(tmp_path / "small.keras")
    assert_same(keras.saving.load_model(tmp_path / "small.keras"), small, x)


def test_scores_of_blocks_within_layers(stacks):
    """Those of each block, called by hand."""
    x = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    values = [stacks.get_layer("before")(x)]
    for name in ("first", "second"):
        for block in stacks.get_layer(name).blocks:
            values.append(block(values[-1]))
    values = [np.asarray(value, np.float64) for value in values]
    expected = [
        np.mean(1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)) for a, b in pairwise(values)
    ]
    np.testing.assert_allclose(Cosine().scores(stacks, residual_blocks(stacks), x), expected, rtol=1e-4)


def test_a_layer_whose_code_looks_at_values_is_left_alone():
    inputs = keras.Input((4,))
    assert names(keras.Model(inputs, Branching()(inputs))) == []
