import json

import keras
import numpy as np
import pytest

from tests.recipes.models.torch_names import kernel_names, load_torch_state, peekaboo_recipe, to_keras
from tfprune.recipes.models import build_model

CIFAR = {"num_classes": 10, "input_shape": (32, 32, 3)}


@pytest.fixture(scope="module")
def recipe(golden_peekaboo):
    key = "b/resnet18_recipe0_synflow100_0.3"
    shapes = json.loads(str(golden_peekaboo[f"{key}/shapes_json"]))
    return peekaboo_recipe([str(name) for name in golden_peekaboo[f"{key}/names"]], shapes, "linear", 10)


def test_recipe_is_the_golden_one(golden_peekaboo, recipe):
    for name in ("conv1.weight", "layer4.1.conv2.weight", "linear.weight", "linear.bias"):
        np.testing.assert_array_equal(recipe[name].ravel()[:8], golden_peekaboo[f"b/resnet18_recipe0/first8/{name}"])


ROUNDING = 40 * np.finfo(np.float32).eps
"""Of the largest logit: 18 layers of float32 differ by 8 to 20 machine epsilons from one processor to another."""


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_logits_of_resnet18(golden_peekaboo, recipe, padding):
    model = load_torch_state(build_model("ResNet-18", init="kaiming_normal", padding=padding, **CIFAR), recipe)
    x = np.random.RandomState(7).randn(2, 3, 32, 32).astype(np.float32)
    logits = model(x.transpose(0, 2, 3, 1), training=False)
    expected = golden_peekaboo["b/resnet18_recipe0/logits_eval_dense"]
    if padding == "symmetric":
        np.testing.assert_allclose(logits, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
    else:
        assert np.abs(logits - expected).max() > 1


LARGE = {"num_classes": 1000, "input_shape": (64, 64, 3)}
MODELS = {
    **{f"ResNet{depth}": (f"ResNet-{depth}", CIFAR) for depth in (18, 20, 34, 50, 110)},
    "WideResNet28_10": ("WideResNet-28-10", CIFAR),
    **{f"Conv{depth}": (f"Conv{depth}-BN", CIFAR) for depth in (4, 6)},
    **{f"VGG{depth}": (f"VGG-{depth}-maxpool", CIFAR) for depth in (11, 13, 16, 19)},
    **{f"{psg}resnet{depth}": (f"ResNet-{depth}", LARGE) for depth in (18, 50) for psg in ("", "psg_")},
}
LARGEST = {
    "ResNet50",
    "WideResNet28_10",
    "resnet50",
    "psg_resnet50",
    "VGG16",
    "VGG19",
    "ResNet34",
    "ResNet110",
    "VGG13",
    "resnet18",
}


def layer_list(golden_peekaboo, name):
    return json.loads(str(golden_peekaboo["e/layer_lists_json"]))[name]


def test_every_golden_list_is_tested(golden_peekaboo):
    assert set(json.loads(str(golden_peekaboo["e/layer_lists_json"]))) == set(MODELS)


def build(name):
    arch, shape = MODELS[name]
    return build_model(arch, init="ones", classifier_init="ones", padding="symmetric", **shape)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGEST else ()) for n in MODELS])
def test_layers_and_counts(golden_peekaboo, name):
    golden = layer_list(golden_peekaboo, name)
    model = build(name)
    ours = kernel_names(model, [weight for weight, _ in golden["prunable"]])
    for (weight, shape), path in zip(golden["prunable"], ours.values(), strict=True):
        shape = shape[:2] if weight.startswith("linear.") else shape  # dense there, by 1 x 1 convolutions
        assert tuple(model.get_layer(path.removesuffix("/kernel")).kernel.shape) == to_keras(np.zeros(shape)).shape
    kernels = {f"{layer.name}/kernel": layer for layer in model.layers if hasattr(layer, "kernel")}
    projections = {path for path in kernels if path.endswith("conv3/kernel")}
    not_listed = set(kernels) - set(ours.values())
    if name in ("resnet18", "resnet50"):
        assert not_listed == projections
    elif "linear.weight" not in ours and name.startswith(("ResNet", "Wide")):
        assert not_listed == {"fc/kernel"}
    else:
        assert not_listed == set()
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == golden["total"]
    by_sign = sum(  # kernels of convolutions and their biases; of a Conv model those of dense layers, too
        layer.count_params()
        for path, layer in kernels.items()
        if path != "fc/kernel" or MODELS[name][0].startswith("Conv")
    )
    assert by_sign == golden["bop"]
    assert golden["total"] - by_sign == golden["non_bop"]


def test_vgg_of_the_sign_trained_twin_has_no_biases():
    model = build_model("VGG-11-maxpool", conv_bias=False, init="ones", classifier_init="ones", **CIFAR)
    assert [layer.name for layer in model.layers if getattr(layer, "bias", None) is not None] == ["fc"]


def test_last_batch_norm_of_the_wide_resnet_has_a_small_momentum():
    model = build_model("WideResNet-28-10", widths={}, init="ones", classifier_init="ones", **CIFAR)
    momenta = {
        layer.name: layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta.pop("bn") == 0.1
    assert set(momenta.values()) == {0.9}
    assert model.get_layer("block1.0_conv2").strides == (2, 2)
    assert model.get_layer("block1.0_conv3").input is model.get_layer("block0.3_add").output


def test_logits_with_golden_masks(golden_peekaboo, recipe):
    key = "b/resnet18_recipe0_synflow100_0.3"
    shapes = json.loads(str(golden_peekaboo[f"{key}/shapes_json"]))
    bits = np.unpackbits(golden_peekaboo[f"{key}/mask_packbits"])
    model = load_torch_state(build_model("ResNet-18", init="kaiming_normal", padding="symmetric", **CIFAR), recipe)
    start = 0
    for path, shape in zip(kernel_names(model, golden_peekaboo[f"{key}/names"]).values(), shapes, strict=True):
        kernel = model.get_layer(path.removesuffix("/kernel")).kernel
        kernel.assign(kernel * to_keras(bits[start : start + np.prod(shape)].reshape(shape).astype(np.float32)))
        start += np.prod(shape)
    x = np.random.RandomState(7).randn(2, 3, 32, 32).astype(np.float32)
    logits = model(x.transpose(0, 2, 3, 1), training=False)
    expected = golden_peekaboo["b/resnet18_recipe0/logits_eval_masked"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())
