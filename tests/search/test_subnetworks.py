import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.graph import channel_groups, convert, slim
from tfprune.search.state import Gates
from tfprune.search.subnetworks import SubNetworks, knowledge_losses, label_losses


@pytest.fixture(scope="module")
def networks(pretrained):
    return SubNetworks(pretrained, channel_groups(pretrained))


def everything(networks):
    return np.ones(networks.groups.channels, bool)


def test_golden_logits_of_the_whole_network(golden, networks):
    logits = networks.logits(everything(networks), tf.constant(golden["test64_x"]))
    np.testing.assert_allclose(logits, golden["logits64_bs64_gated_allones"], atol=1e-4)


@pytest.mark.parametrize("tag", ["r0.5", "mixed"])
def test_golden_masked_logits(golden, networks, tag):
    mask = Gates(networks.groups, 0.2).mask(golden["order_full"], golden[f"masked/{tag}/rates"])
    logits = networks.logits(mask, tf.constant(golden["test64_x"]))
    np.testing.assert_allclose(logits, golden[f"masked/{tag}/masked_logits_bs64"], atol=1e-4)


@pytest.mark.parametrize("state", ["full", "mixed"])
def test_golden_scores_and_objective(golden, networks, state):
    mask = everything(networks) if state == "full" else golden["mixed_masks"] > 0
    images, knowledge = tf.constant(golden["test64_x"]), golden["K64"]
    labels = golden["test64_labels"].ravel().astype(np.int64)
    scored = networks.score(mask, images, tf.constant(labels), tf.constant(knowledge), 1 / 64)
    expected = golden["scores_full" if state == "full" else "mixed_scores"]
    np.testing.assert_allclose(scored.scores, expected, rtol=0.02, atol=1e-3 * expected.max())
    assert np.corrcoef(scored.scores, expected)[0, 1] > 0.99999
    logits = np.asarray(scored.activations[-1])
    label_loss = label_losses(logits, labels).mean()
    objective = label_loss + knowledge_losses(logits, knowledge).mean()
    recorded = golden["objective_full" if state == "full" else "mixed_objective"]
    np.testing.assert_allclose([label_loss, objective], recorded, rtol=1e-5)


def test_every_cached_activation_leads_to_the_same_logits(golden, networks):
    mask = golden["mixed_masks"] > 0
    activations = networks.activations(mask, tf.constant(golden["test64_x"][:16]))
    for start in range(len(networks.segments)):
        np.testing.assert_allclose(networks.logits(mask, activations[start], start), activations[-1], atol=1e-5)


def test_a_change_touches_nothing_before_its_first_segment(networks, golden):
    rng = np.random.default_rng(0)
    images = tf.constant(golden["test64_x"][:8])
    whole = networks.activations(everything(networks), images)
    for group in rng.choice(len(networks.groups), 6, replace=False):
        mask = everything(networks)
        mask[networks.groups[group].start] = False
        changed = networks.activations(mask, images)
        first = networks.first_segment(group)
        assert networks.first_difference(mask, everything(networks)) == first
        for segment in range(first + 1):
            np.testing.assert_array_equal(changed[segment], whole[segment])
        assert not np.allclose(changed[-1], whole[-1], atol=1e-6)


def test_blocks_of_one_shape_share_a_function(networks):
    assert len(networks._functions) <= 8 < len(networks.segments)


def small_model(depthwise: bool = True) -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(12, 3, padding="same", use_bias=True, activation="relu")(inputs)
    if depthwise:
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(scale=False)(layers.Conv2D(20, 3, strides=2, padding="same")(x))
    y = layers.LeakyReLU()(y)
    x = layers.Add()([layers.Conv2D(20, 1, strides=2)(x), y])
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(9, activation="tanh")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(5)(layers.BatchNormalization()(x)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_model_equals_its_slimmed_self(dtype):
    keras.utils.set_random_seed(3)
    model = small_model()
    rng = np.random.default_rng(4)
    groups = channel_groups(model)
    networks = SubNetworks(model, groups, dtype)
    images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
    for _ in range(3):
        mask = rng.random(groups.channels) < 0.6
        for group in groups:
            mask[group.start] = True
        expected = slim(model, mask, groups, rescale_kernels=True)(images, training=True)
        received = networks.logits(mask, tf.constant(images))
        np.testing.assert_allclose(received, expected, atol=1e-5 if dtype == "float32" else 0.15)


def test_scores_equal_those_of_the_gated_supernet(golden, pretrained, networks):
    """The score of a batch norm's own gate, by plain backpropagation through gated layers, is the evaluator's."""
    gated = convert(pretrained, "gated")
    names = [group.name.replace("conv", "bn") for group in networks.groups if len(group.layers) == 1]
    scores = [gated.get_layer(name).score for name in names]
    images, labels = golden["test64_x"], golden["test64_labels"].ravel().astype(np.int64)
    with tf.GradientTape() as tape:
        tape.watch([score.value for score in scores])
        logits = gated(images, training=True)
        to_labels = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        to_ensemble = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(golden["K64"]), logits)
        loss = tf.reduce_mean(to_labels + to_ensemble)
    gradients = tape.gradient(loss, [score.value for score in scores])
    single = [group for group in networks.groups if len(group.layers) == 1]
    for group, gradient in zip(single, gradients, strict=True):
        expected = golden["scores_full"][group.channels]
        np.testing.assert_allclose(gradient, expected, rtol=0.05, atol=1e-3 * golden["scores_full"].max())
