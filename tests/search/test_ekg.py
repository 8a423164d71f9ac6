import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.models import concatenations, nested_blocks
from tfprune.errors import ConfigError, SearchError, UnsupportedLayerError
from tfprune.graph import PINNED, complexity, executable_groups, slim
from tfprune.landscape import LandscapeSettings, measure
from tfprune.search.ekg import _logits, search
from tfprune.search.greedy import Search

layers = keras.layers


def squeeze_excite(x, name):
    s = layers.GlobalAveragePooling2D()(x)
    s = layers.Reshape((1, 1, x.shape[-1]))(s)
    s = layers.Conv2D(4, 1, activation="relu", name=f"{name}_squeeze")(s)
    s = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name=f"{name}_excite")(s)
    return layers.Multiply()([x, s])


def concatenating():
    return concatenations(12, width=12, growth=6)


def exciting():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, name="stem", use_bias=False)(inputs)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = squeeze_excite(layers.Activation("swish")(layers.BatchNormalization()(x)), "se")
    return inputs, layers.SeparableConv2D(10, 3, name="last")(x)


def next_block(x, name):
    y = layers.Conv2D(x.shape[-1], 3, padding="same", groups=x.shape[-1])(x)
    y = layers.Dense(24, activation="gelu", name=f"{name}_wide")(layers.LayerNormalization()(y))
    return x + layers.Dense(x.shape[-1], name=f"{name}_narrow")(y)


def normalising_channels():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(10, 3, strides=2, name="stem")(inputs)
    return inputs, next_block(next_block(x, "one"), "two")


def nesting():
    return nested_blocks(12, width=8)


BUILDERS = (concatenating, exciting, normalising_channels, nesting)


def classifier(build, seed=0):
    keras.utils.set_random_seed(seed)
    inputs, x = build()
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(3, name="out")(x), name=build.__name__)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if variable.name in ("beta", "bias"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(1)
    return rng.normal(0, 1, (24, 12, 12, 3)).astype("float32"), rng.integers(0, 3, 24)


@pytest.mark.parametrize("build", BUILDERS)
def test_sub_networks_agree_with_keras_whole_and_slimmed(build, examples):
    model = classifier(build)
    run = Search(model, *examples, target=0.5, batch_size=24)
    whole = np.ones(run.groups.channels, bool)
    images = tf.constant(examples[0])
    np.testing.assert_allclose(run._exact.logits(whole, images), model(images, training=True), atol=2e-5)
    mask = np.random.default_rng(2).random(run.groups.channels) < 0.6
    for group in run.groups:
        mask[group.start] = True
    small = slim(model, mask, run.groups, rescale_kernels=True)
    np.testing.assert_allclose(run._exact.logits(mask, images), small(images, training=True), atol=5e-5)
    assert complexity(small).flops == run.cost.totals(mask)[1] < run.full_flops


@pytest.mark.parametrize("build", BUILDERS)
def test_every_channel_can_be_scored(build, examples):
    run = Search(classifier(build), *examples, target=0.5)
    gated = np.unique(np.concatenate([site.channels for site in run._exact._sites]))
    np.testing.assert_array_equal(gated[gated != PINNED], np.arange(run.groups.channels))


@pytest.mark.parametrize("build", BUILDERS)
def test_scores_are_the_loss_gradient_at_the_gates(build, examples):
    """Against a finite difference: what scaling one channel where kernels read it does to the loss."""
    model = classifier(build)
    run = Search(model, *examples, target=0.5, batch_size=24)
    state = run.start()
    scores, _ = run._score(state)
    slots = [(each.layer, slot) for each in run.groups.by_layer.values() for slot in each.slots if slot.role == "in"]
    rng = np.random.default_rng(3)
    step = 3e-3
    for channel in rng.choice(run.groups.channels, 4, replace=False):
        readers = [(layer, slot) for layer, slot in slots if channel in slot.channels]
        if len(readers) != 1:
            continue  # several gates: the sum of magnitudes is no single derivative
        ((layer, slot),) = readers
        weight = getattr(layer, slot.weight)
        old = np.asarray(weight).copy()
        losses = []
        for factor in (1 + step, 1 - step):
            new = old.copy()
            np.moveaxis(new, slot.axis, 0)[slot.channels == channel] *= factor
            weight.assign(new)
            losses.append(run.measure(np.asarray(model(examples[0], training=True)), state.knowledge)[2])
        weight.assign(old)
        assert scores[channel] == pytest.approx(abs(losses[0] - losses[1]) / (2 * step), abs=2e-4, rel=0.03)


def test_numbers_of_words_stay_what_they_are():
    """In bfloat16, 2001 would be 2000; and no gradient flows back to them."""
    keras.utils.set_random_seed(0)
    words = keras.Input((6,), dtype="int32")
    x = layers.Bidirectional(layers.LSTM(5))(layers.Embedding(3000, 8)(words))
    x = layers.Dense(16, activation=lambda x: x * keras.ops.sigmoid(x), name="hidden")(layers.Dense(12, "relu")(x))
    model = keras.Model(words, layers.Dense(3, "softmax")(x))
    rng = np.random.default_rng(0)
    data = rng.integers(1001, 3000, (24, 6)) | 1, rng.integers(0, 3, 24)
    for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 2e-2)):
        run = Search(model_of_logits := _logits(model), *data, target=0.5, batch_size=24, dtype=dtype)
        logits = run._fast.logits(np.ones(run.groups.channels, bool), tf.constant(data[0]))
        np.testing.assert_allclose(logits, model_of_logits(data[0]), atol=tolerance)
        assert run._score(run.start())[0].all()
    small = tfprune.ekg.search(model, data, flops=0.95, progress=False).slim()
    assert small.count_params() < model.count_params()


def test_search_returns_a_smaller_working_model(examples):
    model = classifier(concatenating)
    before = [np.asarray(weight).copy() for weight in model.weights]
    result = tfprune.ekg.search(model, examples, flops=0.6, progress=False)
    small = result.slim()
    assert complexity(small).flops <= 0.6 * complexity(model).flops
    assert result.flops == complexity(small).flops
    images = tf.constant(examples[0])
    np.testing.assert_allclose(small(images, training=False), small(images, training=True), atol=2e-2)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_softmax_at_the_end_changes_nothing_but_the_outputs(examples):
    logits = classifier(exciting)
    soft = keras.Model(logits.input, layers.Softmax(name="soft")(logits.output))
    inside = classifier(exciting)
    inside.get_layer("out").activation = keras.activations.softmax
    data = tf.data.Dataset.from_tensor_slices(examples).batch(7)
    found = [tfprune.ekg.search(each, data, flops=0.7, progress=False) for each in (logits, soft, inside)]
    assert found[0].flops == found[1].flops == found[2].flops
    smalls = [each.slim() for each in found]
    expected = keras.ops.softmax(smalls[0](examples[0]))
    np.testing.assert_allclose(smalls[1](examples[0]), expected, atol=1e-6)
    np.testing.assert_allclose(smalls[2](examples[0]), expected, atol=1e-6)


def test_what_cannot_run_at_other_widths_is_left_alone_and_named():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="a")(inputs)
    x = layers.Conv2DTranspose(6, 3, name="up")(x)
    x = layers.Conv2D(8, 3, name="b")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, name="c")(x))
    groups = executable_groups(keras.Model(inputs, layers.Dense(2)(x)))
    assert [group.name for group in groups] == ["b", "c"]
    assert groups.pinned == ("a, up: 14 channels stay because of up (Conv2DTranspose): no search at other widths",)


def test_a_class_that_computes_its_own_way_is_left_alone():
    class Odd(layers.Dense):
        def call(self, inputs):
            return super().call(keras.ops.cumsum(inputs, axis=-1))

    inputs = keras.Input((8,))
    x = Odd(6, name="odd")(layers.Dense(5, name="a")(inputs))
    groups = executable_groups(keras.Model(inputs, layers.Dense(2)(layers.Dense(4, name="b")(x))))
    assert [group.name for group in groups] == ["b"]


def test_bad_input_is_refused(examples):
    model = classifier(exciting)
    with pytest.raises(ConfigError, match="flops: expected a number above 0 and below 1, received 45"):
        tfprune.ekg.search(model, examples, flops=45)
    with pytest.raises(
        ConfigError, match=r"labels: expected class numbers of shape \[examples\], .* received shape \[24, 3\]"
    ):
        tfprune.ekg.search(model, (examples[0], np.eye(3)[examples[1]]), flops=0.5)
    with pytest.raises(ConfigError, match="at least one batch"):
        tfprune.ekg.search(model, [], flops=0.5)
    two = keras.Model(model.inputs, [model.output, model.output * 2.0])
    with pytest.raises(SearchError, match="one output"):
        tfprune.ekg.search(two, examples, flops=0.5)
    other = keras.Input((3,))
    fed = keras.Model([*model.inputs, other], layers.Add()([model.output, other]))
    with pytest.raises(UnsupportedLayerError, match="one input"):
        tfprune.ekg.search(fed, examples, flops=0.5)


def test_what_cannot_be_searched_is_named():
    inputs = keras.Input((5, 3))
    x = keras.layers.LSTM(16, name="memory")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4, name="free")(x)))
    data = np.zeros((8, 5, 3), np.float32), np.zeros(8, np.int64)
    with pytest.raises(SearchError, match=r"no gate is left .*memory \(LSTM\).*; expected a target .* \(flops of tfpr"):
        search(model, data, flops=0.3, progress=False)


def test_the_landscape_of_every_sub_network(examples):
    model = classifier(concatenating)
    settings = LandscapeSettings(directions=2, points=3, seed=4, hessian=False)
    found = search(model, examples, flops=0.5, batch_size=16, landscape=settings, progress=False)
    plain = search(model, examples, flops=0.5, batch_size=16, progress=False)
    assert plain.landscapes == ()
    assert [len(found.landscapes), found.flops] == [len(found.history), plain.flops]
    losses = [entry.loss for entry in (*found.history, found.final)][1:]
    np.testing.assert_allclose([each.section.center for each in found.landscapes], losses, rtol=1e-4)
    images, labels = examples
    batches = [(images[:16], labels[:16]), (images[16:], labels[16:])]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone = measure(found.slim(), batches, settings, loss=loss, progress=False)
    np.testing.assert_allclose(found.landscapes[-1].section.losses, alone.section.losses, rtol=1e-5)
    assert len({each.section.fluctuation for each in found.landscapes}) == len(found.landscapes) > 1


def test_stored_averages_are_refused_for_sub_networks(examples):
    with pytest.raises(ConfigError, match="landscape: expected batch_norm batch or recalibrated, received moving"):
        search(classifier(nesting), examples, 0.8, landscape=LandscapeSettings(batch_norm="moving"), progress=False)
