import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.recipes.models import build_model, model_names
from tfprune.recipes.models.building import find_architecture, recognize_architecture


def names_of(model):
    return [layer.name for layer in model.layers]


def test_golden_size(golden):
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3), seed=0)
    assert model.count_params() == int(golden["unpruned_params"])


@pytest.mark.parametrize(
    ("arch", "classes", "shape", "parameters"),
    [
        ("ResNet-18", 1000, (64, 64, 3), 11_699_112),
        ("ResNet-34", 1000, (64, 64, 3), 21_814_696),
        ("ResNet-50", 1000, (64, 64, 3), 25_610_152),
        ("ResNet-20", 10, (8, 8, 1), 16 * 9 + 64 + 270_778),
    ],
)
def test_sizes_known_from_elsewhere(arch, classes, shape, parameters):
    # torchvision's resnet18, 34 and 50 have 11 689 512, 21 797 672 and 25 557 032 parameters; Keras counts the moving
    # statistics of the 4 800, 8 512 and 26 560 batch norm channels as well (two each)
    model = build_model(arch, num_classes=classes, input_shape=shape, seed=0)
    if arch != "ResNet-20":
        assert model.count_params() == parameters
        assert model.output_shape == (None, 1000)
        assert model.get_layer("pool").output.shape[1:3] == (16, 16)
    else:
        reference = build_model(arch, num_classes=classes, input_shape=(32, 32, 3), seed=0)
        assert reference.count_params() - model.count_params() == 9 * 16 * 2


def test_only_stock_layers_in_the_stated_form():
    model = build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3), seed=0)
    allowed = {"InputLayer", "Conv2D", "BatchNormalization", "ReLU", "Add", "GlobalAveragePooling2D", "Dense"}
    assert {type(layer).__name__ for layer in model.layers} == allowed
    assert all(type(layer) is getattr(keras.layers, type(layer).__name__) for layer in model.layers)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            assert not layer.use_bias
            assert layer.padding == "same"
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.epsilon == 1e-5
            assert layer.momentum == 0.9


def test_layers_are_named_and_joined_as_agreed():
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3), seed=0)
    names = set(names_of(model))
    assert {"conv", "bn", "fc", "block0.0_conv1", "block0.0_bn2", "block1.0_conv3", "block1.0_bn3"} <= names
    assert {name for name in names if name.endswith("conv3")} == {"block1.0_conv3", "block2.0_conv3"}
    shortcut, branch = model.get_layer("block1.0_add").input
    assert shortcut is model.get_layer("block1.0_bn3").output
    assert branch is model.get_layer("block1.0_bn2").output
    shortcut, branch = model.get_layer("block1.1_add").input
    assert shortcut is model.get_layer("block1.0_relu2").output
    assert branch is model.get_layer("block1.1_bn2").output
    assert model.get_layer("block1.0_conv1").strides == (2, 2)
    assert model.get_layer("block1.0_conv2").strides == (1, 1)


def test_bottleneck():
    model = build_model("ResNet-50", num_classes=10, input_shape=(32, 32, 3), seed=0)
    assert "block0.0_conv3" in names_of(model)
    assert "pool" not in names_of(model)
    kernels = {n: model.get_layer(f"block1.0_{n}").kernel.shape for n in ("conv3", "conv0", "conv1", "conv2")}
    assert kernels == {
        "conv3": (1, 1, 256, 512),
        "conv0": (1, 1, 256, 128),
        "conv1": (3, 3, 128, 128),
        "conv2": (1, 1, 128, 512),
    }
    assert model.get_layer("block1.0_conv1").strides == (2, 2)


def test_initial_weights():
    model = build_model("ResNet-56", num_classes=10, input_shape=(32, 32, 3), seed=0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert np.all(np.asarray(layer.gamma) == (0.0 if layer.name.endswith("bn2") else 1.0))
            assert not np.any(layer.beta)
    kernel = np.asarray(model.get_layer("block2.3_conv1").kernel)
    expected = np.sqrt(2 / (9 * 64))
    assert kernel.std() == pytest.approx(expected, rel=0.03)
    assert np.abs(kernel).max() < 2 / 0.8796 * expected * 1.001  # cut at two deviations before the correction
    projection = np.asarray(model.get_layer("block1.0_conv3").kernel)
    assert projection.std() == pytest.approx(np.sqrt(2 / 32), rel=0.12)  # fan-out, not fan-in: 512 values
    fc = model.get_layer("fc")
    assert np.asarray(fc.kernel).std() == pytest.approx(0.01, rel=0.1)
    assert not np.any(fc.bias)


def test_convolutions_of_one_shape_start_differently_and_the_seed_fixes_them():
    def kernels(seed):
        model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), seed=seed)
        return {layer.name: np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}

    first, again, other, unseeded = kernels(1), kernels(1), kernels(2), kernels(None)
    for name, kernel in first.items():
        np.testing.assert_array_equal(kernel, again[name])
        assert not np.array_equal(kernel, other[name])
        assert not np.array_equal(kernel, unseeded[name])
    same_shape = [kernel for kernel in first.values() if kernel.shape == (3, 3, 16, 16)]
    assert len(same_shape) == 6
    assert len({kernel.tobytes() for kernel in same_shape}) == 6


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_any_widths_build(data):
    plan = find_architecture("ResNet-20").default_widths()
    widths = {
        name: data.draw(st.integers(1, width), label=name)
        for name, width in plan.items()
        if name.endswith("conv1") and data.draw(st.booleans())
    }
    stage = data.draw(st.integers(1, 16))
    widths |= dict.fromkeys(("conv", "block0.0_conv2", "block0.1_conv2", "block0.2_conv2"), stage)
    model = build_model("ResNet-20", num_classes=3, input_shape=(8, 8, 1), widths=widths, seed=0)
    assert {name: model.get_layer(name).filters for name in plan} == plan | widths
    assert model(np.zeros((2, 8, 8, 1), np.float32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("arch", "widths", "expected"),
    [
        ("ResNet-57", None, "expected an architecture such as ResNet-20, .*'ResNet-57'; did you mean"),
        ("ResNet-20", {"block9.0_conv1": 3}, r"'block9\.0_conv1', which it does not have"),
        ("ResNet-20", {"block0.0_conv1": 0}, "width of block0.0_conv1: expected a whole number from 1"),
        ("ResNet-20", {"block0.0_conv2": 3}, r"expected equal widths where block0\.0_add .* 16 and 3"),
    ],
)
def test_wrong_requests(arch, widths, expected):
    with pytest.raises(ConfigError, match=expected):
        build_model(arch, num_classes=10, input_shape=(32, 32, 3), widths=widths)


@pytest.mark.parametrize("arch", model_names("resnet"))
def test_architectures_are_recognized(arch):
    assert recognize_architecture(set(find_architecture(arch).default_widths()) | {"fc", "bn", "block0.0_add"}) == arch


@pytest.mark.parametrize("arch", model_names())
def test_architectures_of_the_same_layers_are_named_by_the_first(arch):
    layers = set(find_architecture(arch).default_widths())
    found = recognize_architecture(layers | {"fc", "stage0.0_bn", "flatten"})
    assert found is not None
    assert set(find_architecture(found).default_widths()) == layers


def test_nothing_is_recognised_in_other_layers():
    assert recognize_architecture({"conv", "fc"}) is None
    assert recognize_architecture({"fc", "dense"}) is None
