import keras
import numpy as np
import pytest

from tfprune.errors import UnsupportedLayerError
from tfprune.graph import model_calls
from tfprune.recipes.models import build_model

layers = keras.layers


def branched() -> keras.Model:
    inputs = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    long = layers.Conv2D(4, 3, padding="same", name="second")(layers.ReLU(name="relu")(x))
    short = layers.Conv2D(4, 1, name="short")(x)
    return keras.Model(inputs, layers.Add(name="sum")([short, long]))


def test_depth_first_in_the_order_of_the_inputs():
    assert [call.name for call in model_calls(branched())] == ["images", "stem", "short", "relu", "second", "sum"]


def test_producers_come_before_consumers_and_tensors_join_them():
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1))
    calls = model_calls(model)
    assert {call.name for call in calls} == {layer.name for layer in model.layers}
    made: set[int] = set()
    for call in calls:
        assert {id(tensor) for tensor in call.inputs} <= made | {id(tensor) for tensor in model.inputs}
        made |= {id(tensor) for tensor in call.outputs}
    assert calls[-1].outputs[0] is model.outputs[0]


def test_the_order_of_resnet_is_that_in_which_it_was_written():
    """The gates of EKG are numbered by it: a projection comes before the block's own convolutions."""
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1))
    convolutions = [call.name for call in model_calls(model) if isinstance(call.layer, layers.Conv2D)]
    at = convolutions.index("block1.0_conv3")
    assert convolutions[at : at + 3] == ["block1.0_conv3", "block1.0_conv1", "block1.0_conv2"]


def test_a_shared_layer_is_called_twice():
    shared = layers.Dense(3, name="shared")
    inputs = keras.Input((3,), name="vector")
    model = keras.Model(inputs, shared(shared(inputs)))
    assert [call.name for call in model_calls(model)] == ["vector", "shared", "shared"]


def test_parts_outside_the_model_are_left_out():
    whole = branched()
    part = keras.Model(whole.get_layer("relu").input, whole.output)
    assert "images" not in {call.name for call in model_calls(part) if not isinstance(call.layer, layers.InputLayer)}
    assert [call.name for call in model_calls(part)][-2:] == ["second", "sum"]


def test_sequential_models_and_bare_operations():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense"), layers.ReLU(name="relu")])
    assert [call.name for call in model_calls(model)][1:] == ["dense", "relu"]
    inputs = keras.Input((4,))
    assert type(model_calls(keras.Model(inputs, inputs + 1.0))[-1].layer).__name__ == "Add"


def test_a_subclassed_model_is_refused():
    class Mine(keras.Model):
        def call(self, inputs):
            return inputs

    model = Mine(name="mine")
    model(np.zeros((1, 2)))
    with pytest.raises(UnsupportedLayerError, match=r"received mine \(Mine\), which has no graph of layers"):
        model_calls(model)


def test_models_without_inputs_and_paths_of_models_say_what_to_do():
    unbuilt = keras.Sequential([layers.Dense(3)], name="open")
    with pytest.raises(UnsupportedLayerError, match=r"received open \(Sequential\).* begin it with keras.Input"):
        model_calls(unbuilt)
    with pytest.raises(UnsupportedLayerError, match=r"received 'net.keras' \(str\); load it first: tfprune.load"):
        model_calls("net.keras")
