import json

import numpy as np
import pytest

from tests.models.torch_names import load_torch_state, peekaboo_recipe
from tfprune.models import build_model

CIFAR = {"num_classes": 10, "input_shape": (32, 32, 3)}


@pytest.fixture(scope="module")
def recipe(golden_peekaboo):
    key = "b/resnet18_recipe0_synflow100_0.3"
    shapes = json.loads(str(golden_peekaboo[f"{key}/shapes_json"]))
    return peekaboo_recipe([str(name) for name in golden_peekaboo[f"{key}/names"]], shapes, "linear", 10)


def test_recipe_is_the_golden_one(golden_peekaboo, recipe):
    for name in ("conv1.weight", "layer4.1.conv2.weight", "linear.weight", "linear.bias"):
        np.testing.assert_array_equal(recipe[name].ravel()[:8], golden_peekaboo[f"b/resnet18_recipe0/first8/{name}"])


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_logits_of_resnet18(golden_peekaboo, recipe, padding):
    model = load_torch_state(build_model("ResNet-18", init="kaiming_normal", padding=padding, **CIFAR), recipe)
    x = np.random.RandomState(7).randn(2, 3, 32, 32).astype(np.float32)
    logits = model(x.transpose(0, 2, 3, 1), training=False)
    expected = golden_peekaboo["b/resnet18_recipe0/logits_eval_dense"]
    if padding == "symmetric":
        np.testing.assert_allclose(logits, expected, atol=2e-5)
    else:
        assert np.abs(logits - expected).max() > 1
