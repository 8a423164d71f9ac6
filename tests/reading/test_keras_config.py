"""What configurations name, and how much they ask for."""

import json
from functools import reduce

import keras
import pytest

from tfprune.reading import RefusedError
from tfprune.reading.keras_config import MOST_CALLS, check_work, parse_config, unknown_names


def layer(kind, module="keras.layers", **values):
    return {"module": module, "class_name": kind, "config": values, "registered_name": None}


def sequential(*layers):
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": list(layers)}}


def function(name, module="builtins"):
    return layer("Dense", activation={"module": module, "class_name": "function", "config": name})


def of_model(model):
    return parse_config(json.dumps(keras.saving.serialize_keras_object(model)).encode())


def names(part, known=()):
    return unknown_names(sequential(part), lambda name: name in known)


def test_models_of_keras():
    x = inputs = keras.Input((32, 32, 3))
    for shared in [keras.layers.Conv2D(3, 3, padding="same", activation="relu", kernel_regularizer="l2")] * 3:
        x = shared(x) + keras.ops.mean(x, axis=-1, keepdims=True)
    for model in (
        keras.Model(inputs, x),
        keras.applications.MobileNetV2(weights=None),
        keras.applications.ConvNeXtTiny(weights=None),
        keras.Sequential([keras.Input((5, 3)), keras.layers.Bidirectional(keras.layers.LSTM(2, stateful=False))]),
    ):
        config = of_model(model)
        assert unknown_names(config, lambda name: False) == ()
        check_work(config)


def test_what_the_model_was_compiled_with_is_dropped():
    assert parse_config(json.dumps(sequential() | {"compile_config": {"optimizer": "adam"}}).encode()) == sequential()
    within = sequential(sequential() | {"compile_config": {"loss": {"class_name": "Mine", "config": {}}}})
    assert parse_config(json.dumps(within).encode()) == sequential(sequential())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\0", b"[]", b"3", b"null", b'"text"'])
def test_what_is_no_configuration(content):
    with pytest.raises(RefusedError, match=r"its configuration describes no object|it is no JSON"):
        parse_config(content)


def test_deep_and_long_configurations():
    with pytest.raises(RefusedError, match="nested more than 100 levels deep"):
        parse_config(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
    with pytest.raises(RefusedError, match="more than 50,000 objects"):
        parse_config(json.dumps(sequential(*[layer("ReLU")] * 50_000)).encode())


REFUSED = {
    "a program": (layer("Popen", "subprocess", args=["true"]), "it names 'subprocess.Popen'"),
    "a download": (function("get_file", "keras.utils"), "it names 'keras.utils.get_file'"),
    "pretrained weights": (function("ResNet50", "keras.applications"), "it names 'keras.applications.ResNet50'"),
    "a module of Keras": (layer("TFSMLayer2", "keras.src.export.tfsm_layer"), "it names 'keras.src.export"),
    "a setting": (function("set_floatx", "keras.config"), "it names 'keras.config.set_floatx'"),
    "no text": (layer("Dense", ["os"]), "which is no part of a model"),
    "code": (layer("Lambda", function="x"), "it has a Lambda, which runs code"),
    "code in a layer": (layer("TimeDistributed", layer=layer("Lambda")), "it has a Lambda, which runs code"),
    "code elsewhere": (layer("Lambda", "keras.src.layers.core.lambda_layer"), "it has a Lambda, which runs code"),
    "a lambda": (layer("Dense", activation={"class_name": "__lambda__", "config": {}}), "it has a __lambda__"),
    "a SavedModel": (layer("TFSMLayer", filepath="a"), "it has a TFSMLayer"),
    "PyTorch": (layer("TorchModuleWrapper", module="x"), "it has a TorchModuleWrapper"),
    "a file": (layer("StringLookup", vocabulary="/etc/passwd"), "takes its vocabulary from another file"),
    "a large type": (
        layer("Dense", x={"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "U999999999"}}),
        "it has an array of the type 'U999999999'",
    ),
    "many parts": (layer("Split", "keras.src.ops.numpy", indices_or_sections=10**7), "a setting indices_or_sections"),
    "many steps": (layer("SpectralNormalization", power_iterations=10**9), "a setting power_iterations of more than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_part_of_a_model(name):
    part, said = REFUSED[name]
    with pytest.raises(RefusedError, match=said) as caught:
        names(part)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_classes_and_functions_of_users():
    own = layer("Mine", "my.module") | {"registered_name": "mine>Mine"}
    assert names(own) == ("the class mine>Mine",)
    assert names(own, {"mine>Mine"}) == ()
    assert names(function("mine>f", "my.module")) == ("the function mine>f",)
    assert names(function("mine>f", "my.module"), {"mine>f"}) == ()
    assert names(function("relu")) == ()
    assert names(layer("Dense", kernel_initializer={"class_name": "Zeros", "config": {}})) == ()
    own["config"] = {"vocabulary": "English", "num": 10**9}  # what they mean is theirs to say
    assert names(own, {"mine>Mine"}) == ()


def test_values_are_checked_whatever_name_they_bear():
    value = {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "U999999999"}, "registered_name": "mine>M"}
    with pytest.raises(RefusedError, match="it has an array of the type"):
        names(layer("Dense", x=value), {"mine>M"})


def taken(name, call):
    return {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, 0]}}]}


def functional(calls, inner=None, reverse=False):
    """A chain of calls: of as many layers, or of one model."""
    layers = [layer("InputLayer", batch_shape=[None, 3]) | {"name": "0", "inbound_nodes": []}]
    if inner is not None:
        layers.append(inner | {"name": "1", "inbound_nodes": [taken("0", 0)] * calls})
    else:
        layers += [layer("ReLU") | {"name": f"{i + 1}", "inbound_nodes": [taken(f"{i}", 0)]} for i in range(calls)]
    layers[1:] = layers[:0:-1] if reverse else layers[1:]
    values = {"layers": layers, "input_layers": [["0", 0, 0]], "output_layers": [["1", 0, 0]]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": values}


def too_much(config):
    with pytest.raises(RefusedError) as caught:
        check_work(config)
    return str(caught.value)


def test_many_calls_of_layers():
    many = f"its configuration asks for more than {MOST_CALLS:,} calls of layers"
    check_work(functional(3500))
    check_work(functional(100, functional(20)))
    assert too_much(functional(MOST_CALLS)) == many
    assert too_much(functional(100, functional(80))) == many
    assert too_much(reduce(lambda inner, _: functional(2, inner), range(40), functional(1))) == many  # 2 ** 40


def test_many_layers_in_a_row():
    check_work(sequential(*[layer("ReLU")] * 3900))
    assert "calls of layers" in too_much(sequential(*[layer("ReLU")] * 4100))


def test_what_keras_does_in_squares():
    many = "calls of layers"
    check_work(functional(800, reverse=True))
    assert many in too_much(functional(4000, reverse=True))


def batch(*sizes):
    return layer("InputLayer", batch_shape=list(sizes))


def test_sizes_of_inputs_and_states():
    check_work(sequential(batch(None, 4096, 4096, 3)))
    assert too_much(sequential(batch(None, 10**5, 10**5, 3))) == "its inputs have more than 268,435,456 values"
    check_work(sequential(batch(64, 100, 32), layer("LSTM", units=256, stateful=True)))
    said = too_much(sequential(batch(10**6, 4, 8), layer("LSTM", units=256, stateful=True)))
    assert said == "its inputs or states have more than 268,435,456 values"
