"""Subclassed models as functional ones: the graph that their code makes, of layers with the same weights.

A class derived from `keras.Model` may compute anything in its `call`. Here this code runs once on symbolic tensors, so
that Keras records which layers it calls. It runs on a twin of the model: its layers are other objects that hold the
same weights, so that nothing of the model changes, and its Python attributes are copies.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from re import sub
from typing import Any

import keras

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph.calls import functional_graph, no_graph
from tfprune.graph.duplicate import duplicated
from tfprune.graph.model_class import carry_attributes, derived_with_graph, set_attributes, warn_of_losses
from tfprune.graph.opening import OpeningError, call_kind, cause_of, check_arguments, nodes_between, resolve_sizes
from tfprune.graph.rebuild import compile_alike, copied_graphs, rebound
from tfprune.keras_private import (
    Functional,
    VariableReads,
    attributes_replaced,
    build_shapes,
    calls_forgotten,
    compute_output_spec,
    flat_layers,
    forget_pending,
    order_parts,
    own_variables,
    producer,
    takes_training,
    traced_call,
)
from tfprune.reprs import described

_EXAMPLES = 2
_AUTOMATIC = ("keras_tensor", "input_layer")


def functional_model(model: keras.Model, inputs: Any = None) -> keras.Model:
    """Returns a model as a functional one, which has a graph of layers.

    The code of a subclassed model runs once on symbolic tensors. The result is of a class derived from the model's,
    whose `call` runs the recorded graph: `train_step`, other methods and attributes stay. Its layers are new objects of
    the same names that hold the same weights, so training one model changes both. Keras saves it as a plain functional
    model. A compiled model's copy is compiled with the same loss and the same optimizer.

    Args:
        model: Any model. It is not changed, but for weights that do not exist yet, which its layers make as in a first
            call. A functional or sequential one is returned as it is.
        inputs: The inputs of a subclassed model as `keras.Input(shape)`, in the structure that it takes, such as a
            dict. Default: floating-point numbers of the shapes that it was built for, for any number of examples.

    Returns:
        A functional model with the same outputs. A `ModelClassWarning` says what else is lost, such as another
        computation in training.

    Raises:
        ConfigError: `inputs` are not symbolic tensors, or the model is functional and has its own.
        UnsupportedLayerError: The model does not know its inputs, or its code does not run on symbolic tensors, or
            uses weights outside of layers.

    Example:
        >>> class Network(keras.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden, self.head = keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)
        ...     def call(self, x):
        ...         return self.head(self.hidden(x))
        >>> model = Network()
        >>> functional = functional_model(model, keras.Input((4,)))
        >>> isinstance(functional, Network), functional.hidden.kernel is model.hidden.kernel
        (True, True)
    """
    if functional_graph(model) is not None:
        if inputs is not None:
            raise ConfigError(f"inputs: expected none, as {model.name} has a graph with its own; leave them out")
        return model
    if not isinstance(model, keras.Model) or type(model) is keras.Sequential:
        raise no_graph(model)
    asked = _known_inputs(model) if inputs is None else inputs
    symbols = _symbols(asked)
    if not all(layer.built for layer in flat_layers(model)):
        _build(model, symbols)
    twin, gone = _twin(model)
    try:
        outputs, texts = _traced(model, twin, symbols)
    except OpeningError as error:
        raise _refused(model, twin, symbols, error, known=inputs is None) from error
    kind = derived_with_graph(type(model))
    if kind is None:
        new: Any = keras.Model(symbols, outputs, name=model.name)
        texts.append("its copy is a functional model without the class's methods and attributes")
    else:
        new = kind.__new__(kind)
        Functional.__init__(new, symbols, outputs, name=model.name)
        new.dtype_policy = model.dtype_policy
        for name, value in set_attributes(twin, new).items():
            setattr(new, name, rebound(value, twin, new))
        if gone:
            texts.append(f"its copy lacks {', '.join(gone)}, which hold layers or symbolic tensors")
    order_parts(new, model.variables)
    if not model.trainable:
        new.trainable = False
    if model.compiled:
        compile_alike(model, new, model.optimizer if getattr(model.optimizer, "built", False) else None)
    warn_of_losses([(model, text) for text in texts])
    return new


def _shown(model: keras.Model) -> str:
    return f"{model.name} ({type(model).__name__})"


def _known_inputs(model: keras.Model) -> Any:
    """Returns symbolic tensors of the shapes that a model was built for, with any number of examples."""
    shapes = list(build_shapes(model).values())
    try:
        if len(shapes) == 1:
            return _of_shapes(shapes[0], model.variable_dtype, "inputs")
    except (TypeError, ValueError):  # its `build` takes something else
        pass
    raise UnsupportedLayerError(
        f"expected a functional or sequential model, or one that knows its inputs, received {_shown(model)}, which was "
        "not built for their shapes; give them: inputs=keras.Input(shape), or tfprune.functional_model(model, "
        "keras.Input(shape))"
    )


def _build(model: keras.Model, symbols: Any) -> None:
    """Lets layers of a model make their weights, which Keras does when they are first called.

    If its code fails, it fails on symbolic tensors, too, with its own cause.
    """
    with calls_forgotten(model), suppress(Exception):
        model(symbols)


def _of_shapes(shapes: Any, dtype: str, name: str) -> Any:
    if isinstance(shapes, dict):
        return {key: _of_shapes(each, dtype, key) for key, each in shapes.items()}
    if all(size is None or isinstance(size, int) for size in shapes):
        return keras.Input(tuple(shapes)[1:], dtype=dtype, name=name)
    return type(shapes)(_of_shapes(each, dtype, f"{name}_{number}") for number, each in enumerate(shapes))


def _symbols(asked: Any, name: str = "inputs", *, in_dict: bool = False) -> Any:
    """Returns new symbolic inputs like those that were asked for, of the same names in every call.

    In a dict they have the names of its keys; otherwise those that they were given, but for automatic ones.
    """
    if isinstance(asked, dict):
        return {key: _symbols(each, str(key), in_dict=True) for key, each in asked.items()}
    if isinstance(asked, list | tuple):
        return type(asked)(_symbols(each, f"{name}_{number}", in_dict=in_dict) for number, each in enumerate(asked))
    if not isinstance(asked, keras.KerasTensor):
        raise ConfigError(
            f"inputs: expected keras.Input(shape), in the structure that the model takes, received {described(asked)}"
        )
    own = name if in_dict or asked.name.startswith(_AUTOMATIC) else asked.name
    return keras.Input(batch_shape=asked.shape, dtype=asked.dtype, sparse=asked.sparse or None, name=own)


def _twin(model: keras.Model) -> tuple[Any, list[str]]:
    """Returns an object of a model's class with copies of its layers and attributes, which hold the same weights.

    Also returns the names of attributes that cannot be copied.
    """
    kind: Any = type(model)
    twin = kind.__new__(kind)
    keras.Model.__init__(twin, name=model.name, trainable=model.trainable, dtype=model.dtype_policy)
    weights = {id(variable): variable for variable in model.variables}
    # Models with a graph are copied by it: a copy of all they hold is too deep for Python.
    graphs = copied_graphs(model, lambda layer: duplicated(layer, weights))
    if isinstance(model, keras.Sequential):
        own = {id(layer): graphs.get(id(layer)) or duplicated(layer, weights) for layer in model.layers}
        keras.Sequential.__init__(twin, list(own.values()), name=model.name)
        graphs |= own
    gone = carry_attributes(model, twin, {**weights, **graphs, id(model): twin}, share_fixed=False)
    twin.built = True
    return twin, gone


def _traced(model: keras.Model, twin: Any, symbols: Any) -> tuple[Any, list[str]]:
    """Returns the symbolic outputs of a model's code, and what of the code they lack."""
    outputs, added = _run(twin, symbols, in_training=False)
    nodes = _nodes(outputs, symbols)
    _check(model, nodes)
    _rename(nodes)
    try:
        compute_output_spec(keras.Function(symbols, outputs), symbols)
    except Exception as error:  # of any operation
        raise OpeningError(cause_of(error)) from error
    texts = ["losses that its call adds are left out"] if added else []
    if takes_training(twin):
        texts += _training_texts(twin, symbols, nodes)
    return outputs, texts


def _training_texts(twin: Any, symbols: Any, nodes: Sequence[Any]) -> list[str]:
    """Returns what is lost of what a model's code does in training."""
    with calls_forgotten(twin):
        try:
            other = _nodes(_run(twin, symbols, in_training=True)[0], symbols)
        except OpeningError:
            other = []
        if list(map(call_kind, nodes)) != list(map(call_kind, other)):
            return ["in training it runs the layers that it runs in inference, although its code runs others"]
    fixed = [node.operation.name for node in other if node.arguments.kwargs.get("training") is False]
    return [f"{', '.join(fixed)} heed training, although its code says training=False there"] if fixed else []


def _run(twin: Any, symbols: Any, *, in_training: bool) -> tuple[Any, list[Any]]:
    """Runs a model's code on symbolic tensors; returns what it returns, and the losses that it adds."""
    found: list[Any] = []
    losses: list[Any] = []
    own = {name: keras.KerasTensor(each.shape, each.dtype) for name, each in own_variables(twin).items()}
    vars(twin)["add_loss"] = losses.append
    reads = VariableReads()

    def look(result: Any) -> None:
        flat = keras.tree.flatten(result)
        if not flat or not all(isinstance(tensor, keras.KerasTensor) for tensor in flat):
            raise OpeningError("it returns something else than tensors")
        found.append(result)

    try:
        with attributes_replaced(twin, own), reads:
            traced_call(twin, look, [symbols], {}, in_training=in_training)
    except Exception as error:  # of any code
        raise OpeningError(cause_of(error)) from error
    finally:
        del vars(twin)["add_loss"]
    flat = keras.tree.flatten(found[0])
    names = {id(tensor): name for name, tensor in own.items()}
    used = [names[id(tensor)] for tensor in _read(flat, [*keras.tree.flatten(symbols), *own.values()], names)]
    used += [variable.path for variable in reads.read]
    if used:
        raise OpeningError(f"it uses the weight {used[0]} outside of a layer; put what it does there into a layer")
    return found[0], losses


def _read(outputs: Sequence[Any], boundary: Sequence[Any], names: dict[int, str]) -> list[Any]:
    """Returns which of some symbolic tensors the calls that lead to the outputs take, in their order."""
    nodes = nodes_between(outputs, {id(tensor) for tensor in boundary})
    taken = [tensor for node in nodes for tensor in node.input_tensors]
    return [tensor for tensor in [*taken, *outputs] if id(tensor) in names]


def _nodes(outputs: Any, symbols: Any) -> list[Any]:
    nodes = list(nodes_between(keras.tree.flatten(outputs), {id(each) for each in keras.tree.flatten(symbols)}))
    resolve_sizes(nodes)
    check_arguments(nodes)
    return nodes


def _check(model: keras.Model, nodes: Sequence[Any]) -> None:
    """Checks that a graph holds only weights of the model, has one layer of each name, and runs as in inference."""
    layers = list({id(node.operation): node.operation for node in nodes}.values())
    known = {id(variable) for variable in model.variables}
    for layer in (each for each in layers if isinstance(each, keras.Layer)):
        if any(id(variable) not in known for variable in layer.variables):
            forget_pending()
            raise OpeningError(
                f"the weights of its layer {layer.name} are none of the model's; hold its layers in attributes, and "
                "call the model on a batch first"
            )
    names = [layer.name for layer in layers]
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise OpeningError(f"two of its layers have the name {twice[0]}; give them different names")
    for node in nodes:
        if node.arguments.kwargs.get("training"):
            raise OpeningError(f"it calls {node.operation.name} as in training, whatever it is asked for")
        if isinstance(node.operation, keras.layers.Embedding) and _is_given_numbers(node):
            raise OpeningError("it looks up whole numbers; give them: inputs=keras.Input(shape, dtype='int32')")


def _rename(nodes: Sequence[Any]) -> None:
    """Gives operations the same names in each recording; Keras numbers all operations of a process."""
    operations = list({id(node.operation): node.operation for node in nodes}.values())
    taken = {each.name for each in operations if isinstance(each, keras.Layer)}
    for operation in (each for each in operations if not isinstance(each, keras.Layer)):
        own = sub(r"_\d+$", "", operation.name)
        names = (own if number == 0 else f"{own}_{number}" for number in count())
        operation.name = next(name for name in names if name not in taken)
        taken.add(operation.name)


def _is_given_numbers(node: Any) -> bool:
    """Returns whether an input of the model that is in floating point goes to a layer."""
    (tensor,) = node.input_tensors
    return producer(tensor).is_input and keras.backend.is_float_dtype(tensor.dtype)


def _refused(model: keras.Model, twin: Any, symbols: Any, error: OpeningError, *, known: bool) -> UnsupportedLayerError:
    """Returns the error for a model whose code does not run on symbolic tensors."""
    text = f"expected a model whose code runs on symbolic tensors, received {_shown(model)}: {error}"
    if any(tensor.shape[0] is None for tensor in keras.tree.flatten(symbols)):
        fixed = keras.tree.map_structure(
            lambda tensor: keras.Input(batch_shape=(_EXAMPLES, *tensor.shape[1:]), dtype=tensor.dtype), symbols
        )
        try:
            _traced(model, twin, fixed)
        except OpeningError:
            pass
        else:
            given = "(size, *shape)" if known else str((_EXAMPLES, *keras.tree.flatten(symbols)[0].shape[1:]))
            text += f"; it needs to know the number of examples: give inputs=keras.Input(batch_shape={given})"
    return UnsupportedLayerError(text)
