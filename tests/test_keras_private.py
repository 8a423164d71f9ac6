"""The private names of Keras that tfprune uses exist, and stand in one module."""

import ast
import functools
import importlib
import pathlib
import re

import keras
import numpy as np
import pytest

from tfprune import keras_private
from tfprune.keras_private import HOLDS_FOR, OVERRIDDEN

ROOT = pathlib.Path(keras_private.__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "tfprune").rglob("*.py") if path.name != "keras_private.py")


def private(name):
    return name.startswith("_") and not name.startswith("__")


@functools.cache
def trees():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in MODULES}


def defined(tree):
    """Names that a module gives to something itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


def test_setup_asks_for_these_versions():
    required = re.search(r'"keras([^"]*)"', (ROOT / "setup.py").read_text()).group(1)
    assert required == HOLDS_FOR == ">=3.15,<4"
    major, minor = map(int, keras.__version__.split(".")[:2])
    assert (3, 15) <= (major, minor) < (4, 0)


def test_no_other_module_uses_a_private_name_of_keras():
    own = {path: set(defined(tree)) for path, tree in trees().items()}
    ours = set().union(*own.values()) - NAMES
    found = []
    for path, tree in trees().items():
        allowed = ours | own[path] | set(OVERRIDDEN.get(path, ()))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(each.name for each in node.names)]
                found += [f"{path}:{node.lineno} imports {name}" for name in names if name.startswith("keras.src")]
            elif isinstance(node, ast.Attribute):
                if private(node.attr) and node.attr not in allowed:
                    found.append(f"{path}:{node.lineno} .{node.attr}")
                if node.attr == "src" and isinstance(node.value, ast.Name) and node.value.id == "keras":
                    found.append(f"{path}:{node.lineno} keras.src")
            elif isinstance(node, ast.Constant) and node.value in NAMES:
                found.append(f"{path}:{node.lineno} {node.value!r}")
    assert found == []


@pytest.mark.parametrize("line", ["x._flatten_layers()", "import keras.src.ops", "getattr(x, '_functional')"])
def test_the_walk_finds_private_names(line, monkeypatch):
    monkeypatch.setitem(globals(), "trees", lambda: {"tfprune/some.py": ast.parse(f"import keras\n{line}")})
    with pytest.raises(AssertionError, match=r"some\.py:2"):
        test_no_other_module_uses_a_private_name_of_keras()


def names_of_keras():
    """The private names that the module takes from Keras, from its own text."""
    for node in ast.walk(ast.parse(pathlib.Path(keras_private.__file__).read_text())):
        if isinstance(node, ast.Attribute) and private(node.attr):
            yield node.attr
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"_[a-z_]+", node.value):
            yield node.value


NAMES = set(names_of_keras()) - {"_replace"}


@pytest.mark.parametrize(
    ("path", "name", "kind"), [(path, name, kind) for path, each in OVERRIDDEN.items() for name, kind in each.items()]
)
def test_what_we_override_is_there(path, name, kind):
    instance = kind() if name == "_reduction_axes" else kind
    if name == "_reduction_axes":
        instance.build((None, 4))
    assert hasattr(instance, name)
    importlib.import_module(path.removesuffix(".py").replace("/", "."))
    assert f"{name}" in (ROOT / path).read_text()


def small():
    inputs = keras.Input((6, 4), name="x")
    x = keras.layers.MultiHeadAttention(2, 3, value_dim=5, output_shape=4, name="attention")(inputs, inputs)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    return keras.Model({"x": inputs}, [x], name="small")


def test_models_and_graphs():
    model = small()
    graph = keras_private.functional_part(model)
    assert graph is model
    assert isinstance(graph, keras_private.Functional)
    assert keras_private.functional_part(keras.layers.Dense(2)) is None
    sequential = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert isinstance(keras_private.functional_part(sequential), keras_private.Functional)
    assert list(keras_private.input_structure(graph)) == ["x"]
    assert isinstance(keras_private.output_structure(graph), list)
    (values,) = keras_private.standardized_inputs(graph, {"x": np.ones((2, 6, 4))})
    assert values.shape == (2, 6, 4)
    assert values.dtype == "float32"
    seen = []
    keras_private.run_through_graph(
        graph, {"x": np.ones((2, 6, 4), np.float32)}, lambda layer, *args, **named: seen.append(layer.name) or args[0]
    )
    assert seen == ["attention", "dropout"]


def test_layers_within_layers_and_calls():
    model = small()
    attention = model.get_layer("attention")
    assert attention in keras_private.flat_layers(model)
    assert len(keras_private.flat_layers(attention)) > 4
    assert set(keras_private.child_layers(attention)) < set(keras_private.flat_layers(attention))
    assert keras_private.child_layers(keras.layers.Dense(2)) == []
    node = keras_private.producer(model.outputs[0])
    assert node.operation is model.get_layer("dropout")
    assert keras_private.producer(node.input_tensors[0]).operation is attention
    keras_private.forget_calls(node.operation)
    with pytest.raises(IndexError):
        keras_private.producer(model.outputs[0])
    assert keras_private.takes_training(keras.layers.Dropout(0.5))
    assert not keras_private.takes_training(keras.layers.Flatten())
    tensor = keras.Input((3,))
    keras_private.set_tensor_type(tensor, "float64")
    assert tensor.dtype == "float64"


def test_losses():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert keras_private.compiled_loss(model) is None
    model.compile("sgd", "mse", loss_weights=[2.0])
    assert keras_private.compiled_loss(model) == ("mse", [2.0])
    assert keras_private.compile_settings(model)["loss"] == "mse"
    function = keras_private.CompileLoss("mse", None, output_names=["dense"])
    symbol = keras.KerasTensor((None, 2), "float32")
    keras_private.compute_output_spec(function, symbol, symbol)
    keras_private.set_loss_precision(function, "float64")
    assert function(np.ones((1, 2)), np.full((1, 2), 1 / 3)).dtype == "float64"
    offset = 0.5  # functions of the user, with what they enclose, and shared objects stay as they are
    own = keras.losses.MeanAbsoluteError()
    for loss in (lambda y, outputs: y - outputs + offset, own):
        function = keras_private.CompileLoss(loss, None, output_names=["dense"])
        keras_private.compute_output_spec(function, symbol, symbol)
        keras_private.set_loss_precision(function, "float64")
        found = function(np.full((1, 2), 1 / 3), np.zeros((1, 2)))
        assert (found.dtype, float(found)) == ("float64", 1 / 3 + (0 if loss is own else offset))
    assert own.dtype == "float32"


def test_attributes_of_layers():
    attention = small().get_layer("attention")
    assert keras_private.attention_sizes(attention) == (2, 3, 5)
    assert keras_private.lambda_output_shape(attention) == (4,)
    assert keras_private.lambda_output_shape(keras.layers.Lambda(abs, output_shape=(7,))) == (7,)
    assert keras_private.has_gate(keras.layers.MultiHeadAttention(2, 3, use_gate=True))
    assert not keras_private.has_gate(attention)
    gated = keras.layers.MultiHeadAttention(2, 3, use_gate=True)
    gated.build((None, 4, 5), (None, 4, 5))
    for attribute in keras_private.ATTENTION_PARTS.values():
        assert getattr(gated, attribute).kernel is not None
    causal = keras.layers.Conv1D(2, 3, padding="causal", dilation_rate=2)
    assert np.asarray(keras_private.causal_padding(causal)).tolist() == [[0, 0], [4, 0], [0, 0]]
    for mark in keras_private.EXPORT_MARKS:
        assert hasattr(keras.layers.Dense, mark)


def test_optimizers():
    optimizer = keras.optimizers.Adam()
    variables = [keras.Variable(np.ones(2)), keras.Variable(np.ones(3))]
    optimizer.build(variables)
    assert keras_private.variable_index(optimizer, variables[1]) == 1
    assert [tuple(each.shape) for each in keras_private.adam_moments(optimizer, 1)] == [(3,), (3,)]
    assert keras_private.uses_weight_decay(optimizer, variables[0])
    decaying = keras.optimizers.SGD()
    decaying.exclude_from_weight_decay([variables[0]])
    assert not keras_private.uses_weight_decay(decaying, variables[0])


@pytest.mark.parametrize("name", keras_private.__all__)
def test_what_is_exported_is_there(name):
    assert getattr(keras_private, name) is not None


@pytest.mark.parametrize("sequential", [False, True])
def test_attributes_that_training_adds_to_a_model(sequential):
    stack = [keras.Input((3,)), keras.layers.Dense(2)]
    model = keras.Sequential(stack) if sequential else keras.Model(stack[0], stack[1](stack[0]))
    before = set(vars(model))
    model.compile("adam", "mse", metrics=["mae"])
    x, y = np.ones((4, 3)), np.ones((4, 2))
    model.fit(x, y, validation_data=(x, y), verbose=0)
    model.train_on_batch(x, y)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert set(vars(model)) - before == set(keras_private.TRAINING_STATE)


def test_classes_that_keras_makes_from_inputs_and_outputs():
    class Alike(keras.Model):
        pass

    class Other(keras.Model):
        def __init__(self, width):
            inputs = keras.Input((3,))
            super().__init__(inputs, keras.layers.Dense(width)(inputs))

    stack = [keras.Input((3,)), keras.layers.Dense(2)]
    assert keras_private.functional_like(type(Alike(stack[0], stack[1](stack[0]))))
    assert not keras_private.functional_like(type(Other(2)))


def test_parts_are_sorted_like_those_of_another_model():
    models = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(4)]) for _ in range(2)]
    first, second = models[1].layers

    counterparts = {id(models[0].layers[0]): second, id(models[0].layers[1]): first}
    counterparts[id(keras_private.child_layers(models[0])[0])] = keras_private.child_layers(models[1])[0]
    keras_private.reorder_parts(models[1], models[0], counterparts)
    assert models[1].layers == [second, first]


def test_the_state_of_layers_and_variables():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    layer(keras.Input((3,)))
    assert keras_private.own_state(layer)["_inbound_nodes"]
    assert keras_private.own_state(layer, calls=False)["_inbound_nodes"] == []
    assert "build" not in keras_private.own_state(layer)
    assert "_value" not in keras_private.own_state(layer.kernel)
    layer.names = ["a", {"b": 1}, {2}]
    assert isinstance(layer.names, keras_private.TRACKED)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.part = keras.layers.Dense(1)
    keras_private.renew_tracker(model)
    children = keras_private.child_layers(model)
    model.part = model.part
    assert keras_private.child_layers(model) == children


def test_masks_of_tensors():
    values = keras.ops.reshape(keras.ops.arange(6, dtype="float32"), (1, 3, 2))
    keras_private.set_mask(values, keras.ops.convert_to_tensor([[True, True, False]]))
    assert keras.ops.convert_to_numpy(keras.layers.GlobalAveragePooling1D()(values)).tolist() == [[1.0, 2.0]]


def test_shapes_of_weights_are_known_without_values():
    layer = keras.layers.MultiHeadAttention(2, 3)
    shapes = keras_private.built_shapes(layer, keras.KerasTensor((2, 5, 8)), keras.KerasTensor((2, 5, 8)))
    other = keras.layers.MultiHeadAttention(2, 3)
    other(np.zeros((2, 5, 8)), np.zeros((2, 5, 8)))
    assert shapes == [weight.shape for weight in other.weights]
    assert all(weight._value is None for weight in layer.weights)
