"""Options of the architectures, and that pruning works on all of them."""

import keras
import numpy as np
import pytest

import tfprune
from tfprune.errors import CheckpointError, ConfigError
from tfprune.graph import channel_groups, prunable_weights
from tfprune.layers import BinaryActivation
from tfprune.recipes.models import build_model, load_checkpoint, model_names
from tfprune.recipes.models.blocks import Chain
from tfprune.recipes.models.building import find_architecture

DIGITS = {"num_classes": 10, "input_shape": (16, 16, 1), "seed": 0}
SMALL = {"ResNet-20", "ResNet-8x2", "WideResNet-28-10", "ResNet-18-v2", "ResNet-18-v2-twice", "VGG-11", "VGG-Small"}
SMALL |= {"Conv4-BN", "Conv8-mixed", "LeNet-300-100"}


def small(arch, **options):
    return build_model(arch, width_multiplier=1 / 16, **(DIGITS | options))


def classes(model, kind):
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


@pytest.mark.parametrize("arch", [pytest.param(a, marks=() if a in SMALL else pytest.mark.slow) for a in model_names()])
def test_every_architecture_has_built_in_layers_and_gradients(arch):
    shape = (32, 32, 1) if arch.endswith("maxpool") else (16, 16, 1)
    model = small(arch, input_shape=shape)
    assert all(type(layer) is getattr(keras.layers, type(layer).__name__) for layer in model.layers)
    assert model.name == arch
    plan = find_architecture(arch).default_widths()
    sized = {layer.name: layer.kernel.shape[-1] for layer in model.layers if hasattr(layer, "kernel")}
    assert sized.pop("fc") == 10
    assert sized == {name: width // 16 for name, width in plan.items()}
    x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    logits = np.asarray(model(x, training=True))
    assert logits.shape == (4, 10)
    assert np.ptp(logits, axis=0).min() > 0


@pytest.mark.parametrize("arch", [*sorted(SMALL), pytest.param("WideResNet-50-2-v2", marks=pytest.mark.slow)])
def test_channels_of_all_families_can_be_cut(arch):
    model = small(arch, padding="symmetric")
    groups = channel_groups(model)
    assert len(prunable_weights(model)) == sum(hasattr(layer, "kernel") for layer in model.layers)
    assert groups.slots
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
    smaller = tfprune.plan_channels(model, "l1", density=0.6).apply()
    assert smaller.count_params() < model.count_params()
    assert smaller(x).shape == (2, 10)


def test_families():
    assert sum(len(model_names(group)) for group in ("resnet", "double_resnet", "vgg")) == 10 + 5 + 8
    assert "WideResNet-28-10" in model_names("wide_resnet")
    with pytest.raises(ConfigError, match="expected a family of resnet"):
        model_names("mobile")


def test_symmetric_padding_is_only_where_it_differs():
    padded = small("ResNet-20", padding="symmetric")
    pads = classes(padded, keras.layers.ZeroPadding2D)
    assert pads == ["block1.0_conv1_pad", "block2.0_conv1_pad"]
    assert padded.get_layer("block1.0_conv1").padding == "valid"
    assert padded.get_layer("block1.0_conv3").padding == "same"
    assert not classes(small("ResNet-20"), keras.layers.ZeroPadding2D)
    # where all maps have odd sizes, 17, 9 and 5, the two are the same
    odd = [small("ResNet-8x2", input_shape=(17, 17, 1), padding=padding) for padding in ("same", "symmetric")]
    x = np.random.default_rng(0).normal(size=(2, 17, 17, 1)).astype(np.float32)
    np.testing.assert_allclose(odd[0](x), odd[1](x), atol=1e-6)


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("activation", ["relu", "binary"])
def test_poolings_of_the_large_stem_equal_pytorch(size, activation):
    """Either way of pooling is that of windows around every second pixel, with nothing around the map."""
    model = small(
        "ResNet-18", stem="large", padding="symmetric", activation=activation, input_shape=(2 * size, 2 * size, 1)
    )
    before = "relu" if activation == "relu" else "bn"
    features = keras.Model(model.input, [model.get_layer(before).output, model.get_layer("pool").output])
    x, pooled = features(np.random.default_rng(1).normal(size=(2, 2 * size, 2 * size, 1)).astype(np.float32))
    x = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(pooled, windows.max((-2, -1)))


def test_batch_norms_by_choice():
    affine, fixed, none = (small("ResNet-20", batch_norm=kind) for kind in ("affine", "fixed", "none"))
    norms = classes(affine, keras.layers.BatchNormalization)
    assert classes(fixed, keras.layers.BatchNormalization) == norms
    assert all(fixed.get_layer(name).gamma is None and fixed.get_layer(name).beta is None for name in norms)
    assert not classes(none, keras.layers.BatchNormalization)
    assert all(affine.get_layer(name).epsilon == 1e-5 for name in norms)


def test_a_norm_on_both_sides_of_the_sum_is_one_layer():
    model = small("ResNet-18-v2-twice")
    norm = model.get_layer("block0.0_bn2")
    assert len(norm._inbound_nodes) == 2
    after = small("ResNet-18-v2")
    assert after.get_layer("block0.0_bn2").input is after.get_layer("block0.0_add").output
    for bottleneck in ("ResNet-50-v2", "WideResNet-50-2-v2-after"):
        after = small(bottleneck)
        assert after.get_layer("block0.0_bn2").input is after.get_layer("block0.0_add").output
    two = small("WideResNet-50-2-v2")
    assert two.get_layer("block0.0_bn4").input is two.get_layer("block0.0_add").output


def test_activations_by_choice():
    binary = small("ResNet-20", activation="binary")
    assert not classes(binary, keras.layers.ReLU)
    assert classes(binary, BinaryActivation)[:2] == ["act", "block0.0_act1"]
    smooth = small("ResNet-20", activation=lambda name: keras.layers.Activation("gelu", name=name))
    assert len(classes(smooth, keras.layers.Activation)) == 19
    order = [layer.name for layer in small("Conv2", activation="binary").layers[1:]]
    expected = "stage0.0_conv stage0.0_bn stage0.0_act stage0.1_conv stage0_pool stage0.1_bn stage0.1_act flatten "
    expected += "hidden0 hidden0_bn hidden0_act hidden1 hidden1_bn hidden1_act fc"
    assert order == expected.split()
    assert len(classes(small("Conv8-mixed", activation="binary"), BinaryActivation)) == 8


def test_patches_give_the_logits_of_their_mean():
    patches = small("ResNet-20", final_pool=2, input_shape=(16, 16, 1))
    whole = small("ResNet-20", input_shape=(16, 16, 1))
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 1)).astype(np.float32)
    logits = np.asarray(patches(x))
    assert logits.shape == (3, 40)
    np.testing.assert_allclose(logits.reshape(3, 10, 4).mean(-1), whole(x), atol=1e-6)


def test_biases_by_choice():
    def biases(arch, **options):
        return [layer.name for layer in small(arch, **options).layers if getattr(layer, "bias", None) is not None]

    assert biases("ResNet-20") == ["fc"]
    assert biases("ResNet-20", classifier_bias=False) == []
    assert biases("Conv4") == []
    assert len(biases("VGG-11")) == 9
    assert biases("VGG-11", conv_bias=False) == ["fc"]


def test_vgg_at_the_sizes_of_tiny_imagenet():
    for arch in ("VGG-19", "ResNet-32x2"):
        model = build_model(arch, num_classes=200, input_shape=(64, 64, 3), width_multiplier=1 / 16)
        assert model.get_layer("global_pool").output.shape[-1] == model.get_layer("fc").kernel.shape[0]
        assert model.output_shape == (None, 200)


@pytest.mark.parametrize(
    ("arch", "options", "expected"),
    [
        ("ResNet-20", {"padding": "valid"}, "padding: expected same or symmetric, received 'valid'"),
        ("ResNet-20", {"batch_norm": "frozen"}, "batch_norm: expected affine, fixed or none"),
        ("ResNet-18", {"stem": "huge"}, "stem: expected auto, small or large"),
        ("ResNet-18", {"activation": "sign"}, "expected activation relu, binary or a function"),
        ("ResNet-20", {"final_pool": 0}, "final_pool: expected a whole number from 1"),
        ("ResNet-20", {"width_multiplier": 0.0}, "width_multiplier: expected a number above 0"),
        ("ResNet-20", {"width_multiplier": 1 / 32}, "expected widths of 1 or more, conv of ResNet-20 has 0"),
        ("ResNet-20", {"init": "he"}, "expected initial weights of standard"),
        ("VGG-11", {"input_shape": (8, 8, 1)}, "expected larger images: at stage3_pool, .* 1 x 1"),
    ],
)
def test_wrong_choices(arch, options, expected):
    with pytest.raises(ConfigError, match=expected):
        build_model(arch, **(DIGITS | options))


def test_wrong_steps():
    with pytest.raises(ConfigError, match=r"expected steps like .*'conv'"):
        Chain("conv").default_widths()


def test_models_of_any_family_load_from_files(tmp_path):
    model = small("VGG-Small", input_shape=(16, 16, 1))
    model.save(tmp_path / "model.keras")
    shape = {"num_classes": 10, "input_shape": (16, 16, 1)}
    loaded = load_checkpoint(tmp_path / "model.keras", arch="VGG-Small", **shape)
    for a, b in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for other in ("Conv8", "VGG-Small-BN"):  # the latter has layers of the same names
        with pytest.raises(CheckpointError, match=f"is a VGG-Small, expected {other}"):
            load_checkpoint(tmp_path / "model.keras", arch=other, **shape)
