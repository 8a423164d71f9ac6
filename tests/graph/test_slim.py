import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import SlimWeights, channel_groups, convert, execute, model_calls, slim
from tfprune.recipes.models import build_model

layers = keras.layers
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pretrained(pretrained_file):
    from tfprune.recipes.models import load_checkpoint

    return load_checkpoint(pretrained_file, arch="ResNet-56", num_classes=10, input_shape=(32, 32, 3))


def golden_mask(golden, tag):
    from tfprune.search.state import Gates

    groups = channel_groups(build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3)))
    return Gates(groups, 0.2).mask(golden["order_full"], golden[f"masked/{tag}/rates"])


@pytest.mark.parametrize("tag", ["r0.5", "mixed"])
def test_golden_slimmed_network(golden, pretrained, tag):
    small = slim(pretrained, golden_mask(golden, tag), rescale_kernels=True)
    for key in golden:
        if key.startswith(f"masked/{tag}/slim_shape/"):
            layer = key.split("slim_shape/")[1].replace("BasicBlock", "block").replace("/", "_")
            assert tuple(small.get_layer(layer).kernel.shape) == tuple(golden[key])
        if key.startswith(f"masked/{tag}/slim_kernel/"):
            layer = key.split("slim_kernel/")[1].replace("BasicBlock", "block").replace("/", "_")
            np.testing.assert_allclose(small.get_layer(layer).kernel, golden[key], rtol=1e-5, atol=1e-7)
    images = golden["test64_x"]
    np.testing.assert_allclose(small(images, training=False), golden[f"masked/{tag}/slim_logits_ma"], atol=1e-4)
    np.testing.assert_allclose(small(images, training=False), golden[f"masked/{tag}/masked_logits_ma"], atol=1e-4)
    small = slim(pretrained, golden_mask(golden, tag), rescale_kernels=True)  # training=True moves the averages
    np.testing.assert_allclose(small(images, training=True), golden[f"masked/{tag}/slim_logits_bs64"], atol=1e-4)


@pytest.mark.parametrize("tag", ["r0.5", "mixed"])
def test_masked_supernet_equals_the_slimmed_network(golden, pretrained, tag):
    mask = golden_mask(golden, tag)
    supernet = convert(pretrained, "channel_masked")
    groups = channel_groups(pretrained)
    for name, slots in groups.slots.items():
        layer = supernet.get_layer(name)
        for slot in slots:
            variable = {"in": "in_mask", "out": "out_mask"}.get(slot.role)
            if variable and slot.weight == "kernel":
                keep = np.ones(len(slot.channels), np.float32)
                keep[np.setdiff1d(np.arange(len(keep)), slot.kept(mask))] = 0
                getattr(layer, variable).assign(keep)
    images = golden["test64_x"]
    small = slim(pretrained, mask, groups, rescale_kernels=True)
    np.testing.assert_allclose(supernet(images, training=False), small(images, training=False), atol=1e-4)
    logits = supernet(images, training=True)
    np.testing.assert_allclose(logits, golden[f"masked/{tag}/masked_logits_bs64"], atol=1e-4)


def test_nothing_masked_is_a_copy():
    model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 1), seed=1)
    small = slim(model, np.ones(channel_groups(model).channels, bool), rescale_kernels=True)
    assert small is not model
    for old, new in zip(model.variables, small.variables, strict=True):
        assert old.path == new.path
        np.testing.assert_array_equal(old, new)


def test_the_model_is_not_changed_and_layers_are_stock():
    model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 1), seed=1)
    before = [variable.numpy() for variable in model.variables]
    mask = np.arange(channel_groups(model).channels) % 2 == 0
    small = slim(model, mask)
    assert all(type(layer).__module__.startswith("keras.") for layer in small.layers)
    assert small.count_params() < 0.3 * model.count_params()
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_bad_masks_are_refused():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(x))
    with pytest.raises(UnsupportedLayerError, match="expected a mask over the model's 4 prunable channels"):
        slim(model, np.ones(5, bool))
    with pytest.raises(UnsupportedLayerError, match="leaves no channel in a"):
        slim(model, np.zeros(4, bool))


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(12, 3, name="a")(inputs)))
    x = layers.ReLU()(layers.Conv2D(20, 3, use_bias=False, padding="same", name="b")(x))
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(3)(x))
    model = keras.Model(inputs, layers.Dense(5, name="out")(x))
    for weight in model.weights:
        weight.assign(RNG.uniform(0.1, 1.0, weight.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return network()


def random_mask(groups):
    mask = RNG.random(groups.channels) < 0.5
    for group in groups:
        mask[group.start] = True
        mask[group.start + 1] = False
    return mask


def run(model, weights, mask, images):
    calls = model_calls(model)
    tensors = {id(calls[0].outputs[0]): tf.constant(images)}
    execute(calls[1:], tensors, lambda call: dict(zip(weights.names(call), weights.tensors(call, mask), strict=True)))
    return tensors[id(model.outputs[0])]


@pytest.mark.parametrize("alignment", [1, 8, 16])
def test_they_compute_what_the_slimmed_model_computes(model, alignment):
    groups = channel_groups(model)
    weights = SlimWeights(model, groups, alignment=alignment)
    images = RNG.normal(size=(6, 8, 8, 3)).astype(np.float32)
    for _ in range(3):
        mask = random_mask(groups)
        expected = slim(model, mask, groups, rescale_kernels=True)(images, training=True)
        np.testing.assert_allclose(run(model, weights, mask, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "alignment"), [("float32", 8), ("bfloat16", 16)])
def test_shapes_are_filled_up_with_zeros(model, dtype, alignment):
    groups = channel_groups(model)
    weights = SlimWeights(model, groups, dtype)
    mask = np.ones(groups.channels, bool)
    mask[groups[0].channels] = np.arange(12) < 5
    calls = {call.name: call for call in model_calls(model)}
    assert weights.names(calls["a"]) == ("kernel", "bias")
    kernel, bias = weights.tensors(calls["a"], mask)
    assert kernel.shape == (3, 3, 3, alignment)  # the image's channels are not filled up
    assert (kernel.dtype, bias.dtype) == (tf.as_dtype(dtype), tf.float32)
    assert not np.any(tf.cast(kernel[..., 5:], tf.float32))
    assert not np.any(bias[5:])
    np.testing.assert_array_equal(bias[:5], np.asarray(model.get_layer("a").bias)[:5])
    assert weights.names(calls["norm"]) == ("gamma", "beta")
    gamma, beta = weights.tensors(calls["norm"], mask)
    assert not np.any(gamma[5:])
    assert not np.any(beta[5:])
    (kernel, _) = weights.tensors(calls["out"], mask)
    assert kernel.dtype == tf.float32
    assert kernel.shape == (4 * (24 if alignment == 8 else 32), 5)


def test_kernels_keep_their_norm(model):
    groups = channel_groups(model)
    weights = SlimWeights(model, groups)
    call = next(call for call in model_calls(model) if call.name == "b")
    (kernel,) = weights.tensors(call, random_mask(groups))
    assert np.linalg.norm(kernel) == pytest.approx(np.linalg.norm(call.layer.kernel), rel=1e-5)


def test_flattened_channels_are_filled_up_pixel_by_pixel(model):
    """Behind `Flatten` the fill lies at the end of every pixel's channels, as it arrives there."""
    groups = channel_groups(model)
    weights = SlimWeights(model, groups)
    mask = np.ones(groups.channels, bool)
    mask[groups[1].channels] = np.arange(20) < 9
    (slot,) = (slot for slot in groups.slots["out"] if slot.role == "in")
    layout = weights.layout(slot.channels, mask)
    assert layout.tolist() == [
        position for pixel in range(4) for position in (*range(20 * pixel, 20 * pixel + 9), *[-1] * 7)
    ]


def test_calls_without_weights(model):
    groups = channel_groups(model)
    weights = SlimWeights(model, groups)
    call = next(call for call in model_calls(model) if call.name == "flat")
    assert weights.names(call) == weights.tensors(call, np.ones(groups.channels, bool)) == ()


def test_tensors_are_kept_until_forgotten(model):
    groups = channel_groups(model)
    weights = SlimWeights(model, groups)
    call = next(call for call in model_calls(model) if call.name == "a")
    mask = np.ones(groups.channels, bool)
    first = weights.tensors(call, mask)[0]
    other = mask.copy()
    other[groups[1].start] = False  # of no concern to layer `a`
    assert weights.tensors(call, other)[0] is first
    weights.forget()
    assert weights.tensors(call, mask)[0] is not first


def test_a_mask_that_empties_a_range_is_refused():
    """Each group keeps a channel, but one of two slices would have none."""
    inputs = keras.Input((4,))
    x = layers.Dense(6, name="wide")(inputs)
    parts = [layers.Dense(2, name="first")(x[:, :2]), layers.Dense(2, name="second")(x[:, 2:])]
    model = keras.Model(inputs, layers.Concatenate()(parts))
    groups = channel_groups(model)
    assert slim(model, np.array([True, False, False, True, False, False]), groups).get_layer("wide").units == 2
    with pytest.raises(UnsupportedLayerError, match=r"the mask leaves no channel in .*get_item"):
        slim(model, np.array([False, False, True, True, True, True]), groups)


def test_ranges_that_were_empty_before_stay_so():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, name="made")(inputs)
    x = keras.ops.concatenate([x[:, 6:], x[:, :4], x[:, 2:2]], axis=-1)
    model = keras.Model(inputs, keras.layers.Dense(2, name="read")(x))
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    small = slim(model, np.array([True, False, True, True, False, False]))
    model.get_layer("read").kernel.assign(np.asarray(model.get_layer("read").kernel) * [[1], [0], [1], [1]])
    np.testing.assert_allclose(small(rows), model(rows), rtol=1e-5, atol=1e-6)
