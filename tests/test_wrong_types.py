"""What a public function of `tfprune` is given by mistake is answered in one line, with an error of tfprune."""

import keras
import numpy as np
import pytest

import tfprune
from tests.messages import message
from tfprune.errors import TfpruneError

layers = keras.layers
VALUES = ["x", None, 3, [0.5], {"a": 0.5}, print]


@pytest.fixture(scope="module")
def model():
    stack = [keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.Flatten(), layers.Dense(2)]
    return keras.Sequential(stack)


OF_A_MODEL = {
    "channel_groups": lambda model, path: tfprune.channel_groups(model),
    "complexity": lambda model, path: tfprune.complexity(model),
    "convert": lambda model, path: tfprune.convert(model, "plain"),
    "convert to masked": lambda model, path: tfprune.convert(model, "masked"),
    "export": lambda model, path: tfprune.export(model, path / "m.keras"),
    "export tflite": lambda model, path: tfprune.export(model, path / "m.tflite"),
    "export_saved_model": lambda model, path: tfprune.export_saved_model(model, path / "m"),
    "functional_model": lambda model, path: tfprune.functional_model(model),
    "masks_of": lambda model, path: tfprune.masks_of(model),
    "measure_latency": lambda model, path: tfprune.measure_latency(model),
    "plan_channels": lambda model, path: tfprune.plan_channels(model, "l2", density=0.5),
    "prunable_weights": lambda model, path: tfprune.prunable_weights(model),
    "prune_channels": lambda model, path: tfprune.prune_channels(model, "l2", density=0.5),
    "residual_blocks": lambda model, path: tfprune.residual_blocks(model),
    "save_model": lambda model, path: tfprune.save_model(model, path / "m.keras"),
    "slim": lambda model, path: tfprune.slim(model, np.ones(8, bool)),
    "summary": lambda model, path: tfprune.summary(model, latency=False),
    "a criterion for weights": lambda model, path: tfprune.criteria.criterion("snip")(model, density=0.5, data=None),
}


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("name", OF_A_MODEL)
def test_what_is_no_model(name, value, tmp_path):
    assert "expected" in message(lambda: OF_A_MODEL[name](value, tmp_path))


def test_no_public_function_is_left_out():
    """Every public function is called with wrong types in this module, or takes no model."""
    functions = {name for name in tfprune.__all__ if type(getattr(tfprune, name)).__name__ == "function"}
    assert functions - OF_A_MODEL.keys() == {"load_checkpoint", "load_model", "register_kernel_layer", "register_rule"}


@pytest.mark.parametrize("value", [value for value in VALUES if value != "x"], ids=repr)
def test_what_is_no_path(value, model, tmp_path):
    plan = tfprune.plan_channels(model, "l2", density=0.5)
    masks = tfprune.Masks({"a": np.ones(3)})
    for call in (
        lambda: tfprune.export(model, value),
        lambda: tfprune.save_model(model, value),
        lambda: tfprune.export_saved_model(model, value),
        lambda: tfprune.load_checkpoint(value, arch=None, num_classes=2, input_shape=(8, 8, 3)),
        lambda: tfprune.load_model(value),
        lambda: tfprune.Masks.load(value),
        lambda: tfprune.PruningPlan.load(value),
        lambda: masks.save(value),
        lambda: plan.save(value),
    ):
        assert "expected the path of a file or folder, received " in message(call)


@pytest.mark.parametrize("name", ["flops", "params", "density"])
@pytest.mark.parametrize("value", ["x", [0.5], {"conv": 0.5}, np.array([0.5]), True, float("nan"), 2], ids=repr)
def test_what_is_no_fraction(name, value, model):
    said = message(lambda: tfprune.plan_channels(model, "l2", **{name: value}))
    assert said.startswith(f"{name}: expected the fraction to keep, above 0 and at most 1, received ")


@pytest.mark.parametrize("name", ["round_to", "min_channels", "max_sparsity", "scope", "ignore"])
@pytest.mark.parametrize("value", [None, [0.5], 3.5], ids=repr)
def test_what_is_no_limit(name, value, model):
    assert f"{name}: expected " in message(lambda: tfprune.plan_channels(model, "l2", density=0.5, **{name: value}))


@pytest.mark.parametrize("value", [None, 3, [0.5], print], ids=repr)
def test_what_cannot_be_ignored(value, model):
    for find in (tfprune.channel_groups, tfprune.prunable_weights):
        assert message(lambda find=find: find(model, ignore=value)).startswith("ignore: expected names, patterns")


def test_one_name_to_ignore_is_enough(model):
    for ignore in ("conv", ["conv"], model.get_layer("conv"), (model.get_layer("conv"),)):
        assert not tfprune.channel_groups(model, ignore=ignore)


@pytest.mark.parametrize("value", [value for value in VALUES if value], ids=repr)
def test_what_are_no_masks(value, model):
    message(lambda: tfprune.Masks(value))
    message(lambda: tfprune.convert(model, "masked", value))
    message(lambda: tfprune.slim(model, value))
    message(lambda: tfprune.convert(model, value))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_cannot_be_registered(value):
    if value is not print:  # it might be an activation function
        assert "expected a class of layers" in message(lambda: tfprune.register_rule(value, layers.ReLU))
    assert "expected a class of layers" in message(lambda: tfprune.KernelLayer(value))
    assert "expected a KernelLayer" in message(lambda: tfprune.register_kernel_layer(value))
    assert "expected reads to be " in message(lambda: tfprune.KernelLayer(layers.Dense, reads=value or 1))
    if not callable(value):
        assert "expected a class with a rule" in message(lambda: tfprune.register_rule(layers.ReLU, value))


def forgets(labels, call):
    labels.of(call.inputs[0])


def too_few(labels, call):
    labels.put(call.outputs[0], ())


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            forgets,
            r"the rule of twice \(Twice\) sets no labels of its output of shape \(None, 8\); it must call labels.put",
        ),
        (too_few, r"expected one vector of labels, or None, for each axis .* \(None, 8\) .*; correct the rule"),
    ],
)
def test_a_rule_that_is_wrong(rule, said):
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

    tfprune.register_rule(Twice, rule)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Twice(name="twice"), layers.Dense(2)])
    with pytest.raises(TfpruneError, match=said):
        tfprune.channel_groups(model)
