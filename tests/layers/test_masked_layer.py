"""Masks on the kernels of any layer, against the same model with zeros in its kernels."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import Magnitude, UnprunedWeightsWarning
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import convert, masks_of, prunable_weights
from tfprune.layers import MaskedLayer
from tfprune.masks import Masks

layers = keras.layers


@keras.saving.register_keras_serializable("test_masked_layer")
class Block(layers.Layer):
    """A residual block that makes its parts when it is first called."""

    def __init__(self, width, **settings):
        super().__init__(**settings)
        self.width = width
        self.steps = [layers.Dense(2 * width, activation="gelu"), layers.Dropout(0.5), layers.Dense(width)]
        self.norm = layers.BatchNormalization()

    def call(self, inputs, training=None):
        x = inputs
        for step in self.steps:
            x = step(x, training=training) if isinstance(step, layers.Dropout) else step(x)
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return inputs + self.norm(x, training=training)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("test_masked_layer")
class OwnKernel(layers.Layer):
    """A layer with a kernel of its own, and a matrix that nothing says is one."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.table = self.add_weight(shape=(4, 3), name="table")

    def call(self, inputs):
        return inputs @ self.kernel @ self.table


def recurrent(kind, **settings):
    return lambda: kind(4, **settings)


def cells():
    return layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])


SEQUENCE, IMAGE, VOLUME = (5, 8), (6, 6, 4), (4, 4, 4, 3)
CASES = {
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(4, 3, strides=2), SEQUENCE, ["kernel"]),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(4, 3, activation="relu"), IMAGE, ["kernel"]),
    "Conv3DTranspose": (lambda: layers.Conv3DTranspose(4, 2), VOLUME, ["kernel"]),
    "DepthwiseConv1D": (lambda: layers.DepthwiseConv1D(3), SEQUENCE, ["kernel"]),
    "SeparableConv1D": (lambda: layers.SeparableConv1D(4, 3), SEQUENCE, ["depthwise_kernel", "pointwise_kernel"]),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(4, 3), IMAGE, ["depthwise_kernel", "pointwise_kernel"]),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d"), SEQUENCE, ["kernel"]),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(4)), SEQUENCE, ["layer.kernel"]),
    "LSTM": (recurrent(layers.LSTM), SEQUENCE, ["cell.kernel", "cell.recurrent_kernel"]),
    "GRU": (recurrent(layers.GRU, return_sequences=True), SEQUENCE, ["cell.kernel", "cell.recurrent_kernel"]),
    "SimpleRNN": (recurrent(layers.SimpleRNN, unroll=True), SEQUENCE, ["cell.kernel", "cell.recurrent_kernel"]),
    "ConvLSTM1D": (lambda: layers.ConvLSTM1D(2, 2), (3, 5, 4), ["cell.kernel", "cell.recurrent_kernel"]),
    "Bidirectional": (
        lambda: layers.Bidirectional(layers.LSTM(4)),
        SEQUENCE,
        [f"{way}_layer.cell.{kind}" for way in ("forward", "backward") for kind in ("kernel", "recurrent_kernel")],
    ),
    "RNN": (
        cells,
        SEQUENCE,
        [f"cell.cells.{index}.{kind}" for index in (0, 1) for kind in ("kernel", "recurrent_kernel")],
    ),
    "SpectralNormalization": (lambda: layers.SpectralNormalization(layers.Dense(4)), (8,), ["layer.kernel"]),
    "Block": (lambda: Block(8), (8,), ["steps.0.kernel", "steps.2.kernel"]),
    "OwnKernel": (OwnKernel, (8,), ["kernel"]),
}
ATTENTION = ["query_dense.kernel", "key_dense.kernel", "value_dense.kernel", "output_dense.kernel"]
pytestmark = pytest.mark.filterwarnings("ignore::tfprune.criteria.UnprunedWeightsWarning")


def model_of(case):
    """A model with one layer to mask, named `it`."""
    keras.utils.set_random_seed(7)
    if case in ("MultiHeadAttention", "GroupQueryAttention"):
        inputs = keras.Input(SEQUENCE)
        make = {
            "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 4, name="it"),
            "GroupQueryAttention": lambda: layers.GroupQueryAttention(4, 4, 2, name="it"),
        }
        paths = ATTENTION if case == "MultiHeadAttention" else [f"_{path}" for path in ATTENTION]
        return keras.Model(inputs, make[case]()(inputs, inputs, use_causal_mask=True)), paths
    make, shape, paths = CASES[case]
    layer = make()
    layer.name = "it"
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs)), paths


EVERY = [*CASES, "MultiHeadAttention", "GroupQueryAttention"]


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    return Masks({name: rng.random(tuple(weight.shape)) < 0.5 for name, weight in prunable_weights(model).items()})


def batch(model, seed=1):
    return np.random.default_rng(seed).normal(size=(3, *model.input_shape[1:])).astype(np.float32)


def zeroed(model, masks):
    """The model with zeros in its kernels, written by hand."""
    for name, weight in prunable_weights(model).items():
        weight.assign(np.where(masks[name], np.asarray(weight), 0))
    return model


def gradients(model, x):
    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        loss = tf.reduce_sum(tf.sin(outputs)) + sum(model.losses)
    return np.asarray(outputs), tape.gradient(loss, [weight.value for weight in prunable_weights(model).values()])


@pytest.mark.parametrize("case", EVERY)
def test_outputs_and_gradients_are_those_of_zeroed_kernels(case):
    model, paths = model_of(case)
    assert list(prunable_weights(model)) == [f"it/{path}" for path in paths]
    masks = drawn(model)
    masked = convert(model, "masked", masks)
    assert isinstance(masked.get_layer("it"), MaskedLayer)
    assert masks_of(masked) == masks
    before = [np.asarray(weight).copy() for weight in model.variables]
    x = batch(model)
    ours, our_gradients = gradients(masked, x)
    traced = tf.function(lambda inputs: masked(inputs, training=False))
    np.testing.assert_allclose(traced(x), ours, rtol=1e-5, atol=1e-6)
    for old, weight in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, weight)
    for name, weight in prunable_weights(masked).items():
        np.testing.assert_array_equal(weight, prunable_weights(model)[name])
    plain = convert(masked, "plain")
    theirs, their_gradients = gradients(zeroed(model, masks), x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    for name, mine, other in zip(masks, our_gradients, their_gradients, strict=True):
        expected = np.where(masks[name], np.asarray(other), 0)
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    assert type(plain.get_layer("it")) is type(model.get_layer("it"))
    np.testing.assert_allclose(plain(x), theirs, rtol=1e-5, atol=1e-6)
    assert len(plain.weights) == len(model.weights)


@pytest.mark.parametrize("case", EVERY)
def test_trained_compiled_and_saved(case, tmp_path):
    model, _ = model_of(case)
    masks = drawn(model)
    masked = convert(model, "masked", masks)
    before = {name: np.asarray(weight).copy() for name, weight in prunable_weights(masked).items()}
    masked.compile("sgd", "mse", jit_compile=True)
    x = batch(masked)
    masked.fit(x, np.zeros_like(masked(x)), epochs=2, verbose=0)
    for name, weight in prunable_weights(masked).items():
        moved = np.asarray(weight) != before[name]
        if case == "SpectralNormalization":  # which writes what it reads
            assert not np.asarray(weight)[~masks[name]].any()
        else:
            assert not moved[~masks[name]].any(), name
        assert moved[masks[name]].any(), name
    masked.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert masks_of(loaded) == masks
    np.testing.assert_allclose(loaded(x), masked(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["LSTM", "SeparableConv2D", "MultiHeadAttention"])
def test_half_precision(case):
    model, _ = model_of(case)
    masks = drawn(model)
    masked = convert(model, "masked", masks, dtype="mixed_bfloat16")
    assert masked.get_layer("it").layer.compute_dtype == "float32"  # an output layer
    inner = keras.Model(masked.input, layers.Rescaling(1.0)(masked.output))
    half = convert(inner, "masked", masks_of(inner), dtype="mixed_bfloat16")
    assert half.get_layer("it").layer.compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in half.trainable_variables)
    x = batch(model)
    expected = zeroed(model, masks)(x)
    np.testing.assert_allclose(np.asarray(half(x), np.float32), expected, rtol=0.1, atol=0.1)


def test_dropout_statistics_and_losses_of_a_block():
    model, _ = model_of("Block")
    masked = convert(model, "masked", drawn(model))
    x = batch(model)
    plain = convert(masked, "plain")
    masked(x)
    plain(x)
    assert len(masked.losses) == len(plain.losses) == 1
    np.testing.assert_allclose(masked.losses[0], plain.losses[0], rtol=1e-5)
    first, second = (np.asarray(masked(x, training=True)) for _ in range(2))
    assert not np.array_equal(first, second)  # the seed of dropout moves on
    norm = masked.get_layer("it").layer.norm
    moved = np.asarray(norm.moving_mean).copy()
    assert moved.any()
    state = [variable.value for variable in masked.trainable_variables]
    rest = [variable.value for variable in masked.non_trainable_variables]
    _, updated, losses = masked.stateless_call(state, rest, x, training=True, return_losses=True)
    np.testing.assert_array_equal(norm.moving_mean, moved)
    assert len(losses) == 1
    assert any(not np.array_equal(new, old) for new, old in zip(updated, rest, strict=True))


def test_values_of_an_outer_scope_are_masked_too():
    model, _ = model_of("LSTM")
    masks = drawn(model)
    masked = convert(model, "masked", masks)
    x = batch(model)
    doubled = [(weight, 2 * tf.convert_to_tensor(weight.value)) for weight in masked.trainable_variables]
    with keras.StatelessScope(doubled):
        ours = np.asarray(masked(x))
    for weight in model.trainable_variables:
        weight.assign(2 * weight)
    np.testing.assert_allclose(ours, zeroed(model, masks)(x), rtol=1e-5, atol=1e-6)


def test_masks_of_time_steps_and_states():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True)(tokens)
    states = layers.LSTM(4, return_state=True, name="encoder")(x)[1:]
    x = layers.LSTM(4, return_sequences=True, name="decoder")(x, initial_state=states)
    model = keras.Model(tokens, layers.Dense(2, name="fc")(layers.GlobalAveragePooling1D()(x)))
    masks = Magnitude()(model, density=0.4)
    assert len(masks) == 5
    masked = convert(model, "masked", masks)
    x = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 0]])
    np.testing.assert_allclose(masked(x), zeroed(model, masks)(x), rtol=1e-5, atol=1e-6)


def test_embeddings_by_choice():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 4, name="tokens")(tokens))
    model = keras.Model(tokens, layers.Dense(2, name="fc")(x))
    assert list(prunable_weights(model)) == ["fc/kernel"]
    mask = np.random.default_rng(0).random((9, 4)) < 0.5
    masked = convert(model, "masked", {"tokens/embeddings": mask})
    assert list(masks_of(masked)) == ["tokens/embeddings"]
    table = model.get_layer("tokens").embeddings
    table.assign(np.where(mask, table, 0))
    x = np.arange(12).reshape(2, 6) % 9
    np.testing.assert_allclose(masked(x), model(x), rtol=1e-6)


def test_single_kernels_other_families_and_again():
    model, _ = model_of("LSTM")
    one = {"it/cell.kernel": np.zeros((8, 16))}
    masked = convert(model, "masked", one)
    assert list(masks_of(masked)) == ["it/cell.kernel"]
    every = convert(masked, "masked")
    assert masks_of(every)["it/cell.kernel"].sum() == 0
    assert masks_of(every)["it/cell.recurrent_kernel"].all()
    assert masks_of(convert(every, "fused")) == masks_of(every)
    again = convert(every, "masked", drawn(model))
    assert masks_of(again) == drawn(model)
    with pytest.raises(UnsupportedLayerError, match=r"it/cell.kernel: expected one of .* received LSTM; leave"):
        convert(model, "psg", drawn(model))
    assert masked.get_layer("it").units == 4
    assert not hasattr(masked.get_layer("it"), "kernel_that_is_not_there")


def test_shared_layers_and_frozen_parts():
    inputs = keras.Input((8,))
    block = Block(8, name="it")
    block.steps[0].trainable = False
    model = keras.Model(inputs, layers.Dense(3, name="fc")(block(block(inputs))))
    masks = drawn(model)
    assert list(masks) == ["it/steps.0.kernel", "it/steps.2.kernel", "fc/kernel"]
    masked = convert(model, "masked", masks)
    assert [part.trainable for part in masked.get_layer("it").layer.steps] == [False, True, True]
    assert len(masked.trainable_variables) == len(model.trainable_variables)
    x = batch(model)
    np.testing.assert_allclose(masked(x), zeroed(model, masks)(x), rtol=1e-5, atol=1e-5)


def test_weights_that_a_criterion_cannot_see_are_named():
    model, _ = model_of("OwnKernel")
    with pytest.warns(UnprunedWeightsWarning, match=r"12 .* it/table"):
        masks = Magnitude()(model, density=0.5)
    assert (masks.kept, masks.total, masks.parameters) == (16, 32, 44)
    assert "72.73 %" in masks.table().splitlines()[-1]
    masked = convert(model, "masked", masks)
    assert Magnitude()(masked, density=0.5).parameters == 44
    assert str(masks).endswith("32 of the model's 44 parameters)")
    with pytest.raises(ConfigError, match="found none but those to ignore"):
        Magnitude(ignore="it")(model, density=0.5)


def test_a_path_that_leads_nowhere():
    with pytest.raises(ConfigError, match=r"expected a weight of shape \(8, 4\) at kernel of the ReLU, found none"):
        MaskedLayer(layers.ReLU(), {"kernel": (8, 4)})(np.zeros((1, 8), np.float32))


def test_a_saved_model_loads_where_nothing_was_masked(tmp_path):
    model, _ = model_of("Bidirectional")
    masked = convert(model, "masked", drawn(model))
    masked.save(tmp_path / "model.keras")
    x = batch(model)
    np.save(tmp_path / "x.npy", x)
    code = "import sys, keras, numpy, tfprune.layers; m = keras.saving.load_model(sys.argv[1] + '/model.keras')\n"
    code += "numpy.save(sys.argv[1] + '/y.npy', m(numpy.load(sys.argv[1] + '/x.npy')))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=300)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), masked(x), rtol=1e-5, atol=1e-6)


def test_an_exported_saved_model(tmp_path):
    model, _ = model_of("MultiHeadAttention")
    masked = convert(model, "masked", drawn(model))
    x = batch(model)
    masked.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "served")
    served = loaded.serve(x)
    np.testing.assert_allclose(served, masked(x), rtol=1e-5, atol=1e-6)


def test_replicas_mask_their_own_kernels():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model, _ = model_of("LSTM")
        masks = drawn(model)
        masked = convert(model, "masked", masks)
        masked.compile("sgd", "mse")
    x = batch(model)
    masked.fit(x, np.zeros((3, 4)), verbose=0, batch_size=3)
    expected = zeroed(convert(masked, "plain"), masks)(x)
    np.testing.assert_allclose(masked.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_kernel_of_xception():
    model = keras.applications.Xception(weights=None, input_shape=(71, 71, 3), classes=3)
    masks = drawn(model)
    masked = convert(model, "masked", masks)
    assert masks_of(masked) == masks
    x = batch(model)[:1]
    np.testing.assert_allclose(masked(x), zeroed(model, masks)(x), rtol=1e-4, atol=1e-5)
