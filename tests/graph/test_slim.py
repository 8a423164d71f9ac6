import keras
import numpy as np
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import channel_groups, convert, slim
from tfprune.models import build_model


@pytest.fixture(scope="module")
def pretrained(shared):
    from tfprune.models import load_checkpoint

    path = shared / "data" / "ekg" / "res56_cifar10.pkl"
    return load_checkpoint(path, arch="ResNet-56", num_classes=10, input_shape=(32, 32, 3))


def golden_mask(golden, tag):
    from tfprune.methods.ekg.gates import Gates

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
