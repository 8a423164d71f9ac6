import ast

import numpy as np
import pytest

from tests.recipes.models.torch_names import kernel_names, load_torch_state, to_keras
from tfprune.recipes.models import build_model

# the original's name -> ours
MODELS = {
    **{f"vgg{depth}_bn": f"VGG-{depth}" for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": f"ResNet-{depth}x2" for depth in (8, 20, 32, 56)},
}
SIZES = {10: 32, 100: 32, 200: 64}
LARGE = ("resnet56", "vgg13_bn", "vgg16_bn")
LISTED = [pytest.param(name, 10, marks=pytest.mark.slow if name in LARGE else ()) for name in MODELS] + [
    (name, classes) for name in ("vgg19_bn", "resnet32") for classes in (100, 200)
]


def build(name, classes, **options):
    size = SIZES[classes]
    return build_model(MODELS[name], num_classes=classes, input_shape=(size, size, 3), padding="symmetric", **options)


@pytest.mark.parametrize(("name", "classes"), LISTED)
def test_layers(golden_random_tickets, name, classes):
    golden = {key: golden_random_tickets[f"layers/{name}/c{classes}/{key}"] for key in ("name", "shape", "num")}
    model = build(name, classes, init="ones", classifier_init="ones")
    ours = kernel_names(model, [f"{module}.weight" for module in golden["name"]])
    assert len(ours) == len(set(ours.values())) == sum(hasattr(layer, "kernel") for layer in model.layers)
    for path, shape, number in zip(ours.values(), golden["shape"], golden["num"], strict=True):
        kernel = model.get_layer(path.removesuffix("/kernel")).kernel
        assert tuple(kernel.shape) == to_keras(np.zeros(ast.literal_eval(str(shape)))).shape, path
        assert np.prod(kernel.shape) == number
    if name == "vgg19_bn" and classes == 10:
        assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == 20_040_522


def recipe(state, seed, classes):
    """The golden `fill(seed)`: one stream over the state_dict in order."""
    random = np.random.RandomState(seed)
    arrays = {}
    for entry in state:
        name, _, text = str(entry).partition(":")
        if name.endswith("num_batches_tracked"):
            continue
        shape = ast.literal_eval(text)
        if name.startswith(("fc.", "classifier.")):
            shape = (classes, *shape[1:])
        draw = random.standard_normal(shape)
        if len(shape) > 1:
            draw = draw * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            draw = 1 + 0.1 * np.abs(draw)
        elif name.endswith("weight"):
            draw = 1 + 0.1 * draw
        else:
            draw = 0.1 * draw
        arrays[name] = draw.astype(np.float32)
    return arrays


@pytest.mark.parametrize(
    ("name", "classes", "seed"),
    [
        ("resnet8", 10, 21),
        ("resnet32", 10, 32),
        pytest.param("resnet32", 200, 32, marks=pytest.mark.slow),
        pytest.param("resnet56", 10, 33, marks=pytest.mark.slow),
        pytest.param("vgg19_bn", 10, 31, marks=pytest.mark.slow),
        pytest.param("vgg19_bn", 200, 31, marks=pytest.mark.slow),
    ],
)
def test_logits(golden_random_tickets, name, classes, seed):
    model = build(name, classes, init="ones", classifier_init="ones")
    load_torch_state(model, recipe(golden_random_tickets[f"state/{name}"], seed, classes))
    size = SIZES[classes]
    x = np.random.RandomState(77).standard_normal((2, 3, size, size)).astype(np.float32).transpose(0, 2, 3, 1)
    expected = golden_random_tickets[f"forward/{name}/c{classes}/eval"]
    np.testing.assert_allclose(model(x, training=False), expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())
    key = f"forward/{name}/c{classes}/train"
    if key in golden_random_tickets:
        expected = golden_random_tickets[key]
        np.testing.assert_allclose(model(x, training=True), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet32", pytest.param("vgg19_bn", marks=pytest.mark.slow)])
def test_initial_weights_are_those_of_the_original(golden_random_tickets, name):
    model = build(name, 10, seed=3)
    layers = golden_random_tickets[f"layers/{name}/c10/name"]
    paths = kernel_names(model, [f"{module}.weight" for module in layers]).values()
    for path, expected in zip(paths, golden_random_tickets[f"init/{name}/formula_std"], strict=True):
        kernel = np.asarray(model.get_layer(path.removesuffix("/kernel")).kernel)
        assert kernel.std() == pytest.approx(expected, abs=4 * expected / np.sqrt(2 * kernel.size)), path
    for layer in model.layers:
        assert not hasattr(layer, "bias") or layer.bias is None or not np.any(layer.bias)
        assert not hasattr(layer, "gamma") or np.all(np.asarray(layer.gamma) == 1)
