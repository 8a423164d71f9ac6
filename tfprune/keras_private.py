"""The private names of Keras that tfprune uses, and one of TensorFlow's, in one place.

Keras has no public way to read a model's graph of calls, to list nested layers, or to build a compiled loss. All other
modules of tfprune use the functions below and no private name of Keras. The names were checked in Keras 3.15.0 and
3.15.1; `HOLDS_FOR` is the range that setup.py requires, and `tests/test_keras_private.py` fails if an installed Keras
has changed one. Private methods that tfprune overrides are listed in `OVERRIDDEN`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from inspect import signature
from types import FunctionType
from typing import Any

import keras
import numpy as np
from keras import tree
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from keras.src.backend import compute_output_spec, get_keras_mask, get_stateless_scope, set_keras_mask
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute
from keras.src.backend.common.variables import AutocastScope
from keras.src.layers import layer as layer_module
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops import core as core_operations
from keras.src.ops import einops as einops_operations
from keras.src.ops import image as image_operations
from keras.src.ops import linalg as linear_operations
from keras.src.ops import math as math_operations
from keras.src.ops import nn as nn_operations
from keras.src.ops import numpy as numpy_operations
from keras.src.ops import operation as operation_module
from keras.src.ops.node import Node
from keras.src.saving.saving_lib import DiskIOStore, NpzIOStore, _load_state
from keras.src.saving.serialization_lib import ObjectSharingScope as SharedObjects
from keras.src.saving.serialization_lib import SafeModeScope
from keras.src.trainers.compile_utils import CompileLoss
from keras.src.utils.backend_utils import DynamicBackend
from keras.src.utils.tracking import TrackedDict, TrackedList, TrackedOrderedDict, TrackedSet

__all__ = [
    "ATTENTION_PARTS",
    "EXPORT_MARKS",
    "HOLDS_FOR",
    "NOTES_OF_TENSORFLOW",
    "OVERRIDDEN",
    "TRACKED",
    "TRAINING_STATE",
    "CompileLoss",
    "CustomScaleLayer",
    "DynamicBackend",
    "Functional",
    "LayerScale",
    "SafeModeScope",
    "SharedObjects",
    "StochasticDepth",
    "VariableReads",
    "adam_moments",
    "attention_sizes",
    "attributes_replaced",
    "build_shapes",
    "built_shapes",
    "calls_forgotten",
    "causal_padding",
    "child_layers",
    "compile_settings",
    "compiled_loss",
    "compute_output_spec",
    "core_operations",
    "einops_operations",
    "first_call",
    "flat_layers",
    "forget_calls",
    "forget_pending",
    "function_graph",
    "functional_like",
    "functional_part",
    "has_gate",
    "has_open_sizes",
    "image_operations",
    "inference_arguments",
    "inferred_spec",
    "input_structure",
    "is_produced",
    "keras_mask",
    "lambda_output_shape",
    "linear_operations",
    "load_state",
    "loss_settings",
    "math_operations",
    "nn_operations",
    "no_weights",
    "numpy_operations",
    "operation_settings",
    "order_parts",
    "output_structure",
    "outputs_inferred",
    "own_state",
    "own_variables",
    "producer",
    "renew_tracker",
    "reorder_parts",
    "replace_attribute",
    "run_through_graph",
    "set_loss_precision",
    "set_mask",
    "set_tensor_type",
    "standardized_inputs",
    "stored_value",
    "substituted_values",
    "takes_training",
    "tensors_in",
    "traced_call",
    "uses_weight_decay",
    "variable_index",
]

HOLDS_FOR = ">=3.15,<4"
"""The versions of Keras that this module is for, as setup.py requires them."""

OVERRIDDEN = {
    "tfprune/optimizers/bop.py": {"_backend_update_step": keras.optimizers.Optimizer},
    "tfprune/criteria/weights/scoring_model.py": {
        "_moments": keras.layers.BatchNormalization,
        "_reduction_axes": keras.layers.BatchNormalization,
        "_apply_normalization": keras.layers.GroupNormalization,
        "_create_broadcast_shape": keras.layers.GroupNormalization,
    },
}
"""Private methods and attributes of Keras' classes that derived classes override or need, by file and name."""

EXPORT_MARKS = ("_api_export_path", "_api_export_symbol_id")
"""Attributes that Keras adds to the classes it exports."""

ATTENTION_PARTS = {part: f"_{part}_dense" for part in ("query", "key", "value", "gate", "output")}
"""Where multi-head and grouped-query attention keep their projections."""


TRACKED = (TrackedList, TrackedDict, TrackedOrderedDict, TrackedSet)
"""What Keras makes of a list, dict or set that becomes an attribute of a layer."""


TRAINING_STATE = (
    *("_compile_config", "_compiled_trainable_state", "optimizer", "history"),
    *("stop_training", "stop_evaluating", "stop_predicting"),
)
"""Attributes that Keras adds to a model when it is compiled, trained or run."""

NOTES_OF_TENSORFLOW = "_self_"
"""How the names of attributes begin in which TensorFlow notes what else an object holds."""


def flat_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Returns a layer or model and all layers within it, each once."""
    return list(layer._flatten_layers())


def child_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Returns the layers directly within a layer."""
    return list(layer._layers)


def functional_part(model: Any) -> Any:
    """Returns the functional graph of a functional or sequential model; None if there is none."""
    graph = getattr(model, "_functional", None) or model
    return graph if isinstance(graph, Functional) else None


def functional_like(kind: type) -> bool:
    """Returns whether Keras makes models of a class from inputs and outputs, and saves their graphs.

    There is no public way to ask; `keras.models.clone_model` decides by it whether a copy is of the same class.
    """
    return functional_like_constructor(kind)


def reorder_parts(
    model: keras.Model, like: keras.Model, counterparts: Mapping[int, Any], left_out: Collection[int] = ()
) -> None:
    """Sorts the parts of a model like those of another one, so that the orders of their variables agree.

    Args:
        model: The model. It is changed.
        like: The other model.
        counterparts: The model's part for each part of the other one's graph, by `id`; further parts of both are in the
            same order.
        left_out: The `id`s of parts of the other one that the model lacks.
    """
    graph = {id(part) for part in counterparts.values()}
    further = iter([part for part in model._layers if id(part) not in graph])
    parts = [part for part in like._layers if id(part) not in left_out]
    ordered = [counterparts.get(id(part)) or next(further, None) for part in parts]
    if {id(part) for part in ordered} == {id(part) for part in model._layers}:
        model._layers[:] = ordered


def order_parts(model: keras.Model, variables: Sequence[keras.Variable]) -> None:
    """Sorts the parts of a model, so that its variables come in a given order; those without one come last."""
    positions = {id(variable): position for position, variable in enumerate(variables)}
    last = len(positions)
    model._layers.sort(key=lambda part: min((positions.get(id(each), last) for each in part.variables), default=last))


def replace_attribute(model: keras.Model, name: str, value: Any) -> None:
    """Sets an attribute of a model; a layer that it was is no part of the model any more, as it is for Keras itself."""
    old = vars(model).get(name)
    if isinstance(old, keras.Layer):
        model._layers[:] = [part for part in model._layers if part is not old]
        renew_tracker(model)
    setattr(model, name, value)


def input_structure(graph: Any) -> Any:
    """Returns the symbolic inputs of a functional graph in the structure that it is called with."""
    return graph._inputs_struct


def output_structure(graph: Any) -> Any:
    """Returns the symbolic outputs of a functional graph in the structure that it returns."""
    return graph._outputs_struct


def standardized_inputs(graph: Any, x: Any) -> list[Any]:
    """Returns the inputs of a batch as a flat list of tensors, of the types and ranks that a graph takes."""
    return graph._standardize_inputs(x)


def run_through_graph(graph: Any, inputs: Any, call: Callable[..., Any]) -> Any:
    """Runs a functional graph on inputs, with `call(operation, *args, **kwargs)` for each of its operations."""
    return graph._run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=call)


def producer(tensor: keras.KerasTensor) -> Any:
    """Returns Keras' record of the call that produced a symbolic tensor, with `operation` and `input_tensors`."""
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]


def is_produced(tensor: keras.KerasTensor) -> bool:
    """Returns whether Keras knows the call that produced a symbolic tensor."""
    return getattr(tensor, "_keras_history", (None,))[0] is not None


def first_call(operation: keras.Operation) -> Any:
    """Returns Keras' record of an operation's first call on symbolic tensors, see `producer`; None if there is none."""
    calls = [node for node in operation._inbound_nodes if not node.is_input]
    return calls[0] if calls else None


def forget_calls(operation: keras.Operation) -> None:
    """Removes all calls from an operation, so that it belongs to no graph."""
    operation._inbound_nodes = []
    operation._outbound_nodes = []


@contextmanager
def calls_forgotten(layer: keras.Layer) -> Iterator[None]:
    """Lets a layer and all layers within it forget the symbolic calls that are recorded within the block."""
    parts = flat_layers(layer)
    before = [(len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
    try:
        yield
    finally:
        for part, (calls, readers) in zip(parts, before, strict=True):
            del part._inbound_nodes[calls:], part._outbound_nodes[readers:]


@contextmanager
def attributes_replaced(layer: keras.Layer, values: Mapping[str, Any]) -> Iterator[None]:
    """Gives a layer other values of some attributes within the block, without Keras' taking note of it."""
    before = {name: vars(layer)[name] for name in values}
    vars(layer).update(values)
    try:
        yield
    finally:
        vars(layer).update(before)


def traced_call(
    layer: keras.Layer,
    look: Callable[[Any], None],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    trusting: bool = True,
    in_training: bool = False,
) -> None:
    """Calls a layer on symbolic tensors, and lets Keras record each call that its code makes.

    Keras itself records only the call of the layer; its casts and checks of arguments are those of an ordinary call.
    Afterwards the symbolic tensors that the code returns still come from the calls that its code makes.

    Args:
        layer: The layer.
        look: Called with what its code returns.
        args: Arguments of the call.
        kwargs: Named arguments of the call.
        trusting: Whether layers within it return what they say. Else what their code returns is found out, which takes
            longer: nothing else reads what they say, so it may be wrong.
        in_training: Whether it is called as in training, not as in inference.
    """

    made: dict[int, tuple[Any, Any]] = {}

    def run(*given: Any, **named: Any) -> Any:
        result = layer.call(*given, **named)
        made.update((id(each), (each, each._keras_history)) for each in tree.flatten(result) if is_produced(each))
        look(result)
        return result

    if in_training or takes_training(layer):  # the layers within it heed what it is asked for, even if it does not
        kwargs = {**kwargs, "training": in_training}
    vars(layer)["symbolic_call"] = run
    parts = flat_layers(layer)
    for part in parts:
        vars(part)["compute_output_spec"] = partial(_definite_spec, part, trusting)
    replaced = [(layer_module, "Node", _node_of_tensors), (operation_module, "Node", _node_of_tensors)]
    replaced.append((numpy_operations, "Ndim", _Rank))
    before = [getattr(module, name) for module, name, _ in replaced]
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        layer(*args, **kwargs)
    finally:
        for (module, name, _), value in zip(replaced, before, strict=True):
            setattr(module, name, value)
        for tensor, history in made.values():
            tensor._keras_history = history
        del vars(layer)["symbolic_call"]
        for part in parts:
            del vars(part)["compute_output_spec"]


def _node_of_tensors(operation: Any, call_args: Any = None, call_kwargs: Any = None, outputs: Any = None) -> Node:
    """Records a call; Keras refuses one that returns None beside tensors, as attention does in place of a cache."""
    return Node(operation, call_args, call_kwargs, tensors_in(outputs))


class _Rank(numpy_operations.Ndim):
    """Makes a number of `keras.ops.ndim`, which is known, as code that asks for it expects."""

    def symbolic_call(self, x: Any) -> int:
        return len(x.shape)


def tensors_in(result: Any) -> list[Any]:
    """Returns what a call returns as a flat list, without the places where it returns None."""
    return [each for each in tree.flatten(result) if each is not None]


def _definite_spec(layer: keras.Layer, trusting: bool, *args: Any, **kwargs: Any) -> Any:
    """Returns the symbolic outputs of a layer, with all sizes that follow from those of its inputs.

    A layer may say less than it knows: `EinsumDense` has sizes in its settings. A class whose `call` has arguments that
    its base class lacks, as KerasHub's attention with a cache, may say what its base class says.
    """
    stock = type(layer).__module__.startswith("keras.")
    if stock or (trusting and not any(_is_of_base(layer, f"compute_output_{each}") for each in ("spec", "shape"))):
        made = type(layer).compute_output_spec(layer, *args, **kwargs)
        if not has_open_sizes(made) or has_open_sizes((args, kwargs)):
            return made
    return inferred_spec(layer.call, *args, **kwargs)


def inferred_spec(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns the symbolic outputs of a function, found by tracing it.

    Keras marks the product of a tensor and a constant as sparse, and then traces with sparse tensors; these are dense.
    """

    def dense(value: Any) -> Any:
        return keras.KerasTensor(value.shape, value.dtype) if isinstance(value, keras.KerasTensor) else value

    args, kwargs = tree.map_structure(dense, (args, kwargs))
    return compute_output_spec(function, *args, **kwargs)


@contextmanager
def outputs_inferred(layer: keras.Operation) -> Iterator[None]:
    """Lets a layer that is called on symbolic tensors within the block return what its code does, not what it says."""
    foreign = isinstance(layer, keras.Layer) and not type(layer).__module__.startswith("keras.")
    if foreign:
        vars(layer)["compute_output_spec"] = partial(_definite_spec, layer, False)
    try:
        yield
    finally:
        if foreign:
            del vars(layer)["compute_output_spec"]


def _is_of_base(layer: keras.Layer, name: str) -> bool:
    """Returns whether a method was written for another `call` than that of a layer."""
    call, other = (next(kind for kind in type(layer).__mro__ if each in vars(kind)) for each in ("call", name))
    return other not in (keras.Layer, keras.Operation, call) and issubclass(call, other)


def has_open_sizes(values: Any) -> bool:
    """Returns whether the size of an axis of a symbolic tensor among some values is not known."""
    return any(isinstance(each, keras.KerasTensor) and None in each.shape for each in tree.flatten(values))


def built_shapes(layer: keras.Layer, *args: Any, **kwargs: Any) -> list[tuple[int, ...]]:
    """Returns the shapes of the variables that a layer would have after a call, without giving them values.

    Args:
        layer: A layer that is not built. It is useless afterwards.
        *args: Arguments of the call, tensors symbolic.
        **kwargs: Named arguments of the call.

    Returns:
        The shapes; some may lack if the layer builds layers within it only when these compute.
    """

    def stop(*given: Any, **named: Any) -> Any:
        raise _BuiltError

    vars(layer)["symbolic_call"] = stop
    with keras.StatelessScope(initialize_variables=False), suppress(_BuiltError):
        layer(*args, **kwargs)
    return [tuple(variable.shape) for variable in layer.variables]


class _BuiltError(Exception):
    """Ends a call after the layer was built."""


class VariableReads(keras.StatelessScope):
    """A scope that notes which variables Python code reads itself, not by layers that Keras calls on symbolic tensors.

    What it computes with them would count as a constant in a graph that Keras records.

    Attributes:
        read: The variables.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[keras.Variable] = []

    def get_current_value(self, variable: keras.Variable) -> Any:
        """Returns the value that a variable was given within the scope; None if it was given none."""
        self.read.append(variable)
        return super().get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        """Notes a variable that is given another value."""
        self.read.append(update[0])
        super().add_update(update)


def build_shapes(model: keras.Model) -> dict[str, Any]:
    """Returns the shapes that a model was built for, by the arguments of its `call` or `build`; none if not known.

    `get_build_config` is public, and a class may override it for its files.
    """
    return dict(model._build_shapes_dict or {})


def own_variables(layer: keras.Layer) -> dict[str, keras.Variable]:
    """Returns the variables that a layer holds itself, and not in layers within it, by attribute."""
    own = {id(variable) for variable in (*layer._trainable_variables, *layer._non_trainable_variables)}
    return {name: each for name, each in vars(layer).items() if isinstance(each, keras.Variable) and id(each) in own}


def keras_mask(tensor: Any) -> Any:
    """Returns the mask that is attached to a tensor; None if there is none."""
    return get_keras_mask(tensor)


def function_graph(graph: Any, name: str) -> Any:
    """Returns the graph of a function that is called in a TensorFlow graph.

    `as_graph_def` is public, and has the functions as messages without tensors, whose shapes are needed.
    """
    return graph._get_function(name).graph


def own_state(value: Any, *, calls: bool = True) -> dict[str, Any]:
    """Returns the attributes of a layer, metric or variable, to be given to a bare new one of its class.

    `keras.layers.Layer.from_config` is the public way to copy, but not all layers can be made from a configuration.

    Args:
        value: The object.
        calls: Whether a layer remembers the graphs that it belongs to.
    """
    # Layers have methods bound to them as attributes; a variable makes its own tensor.
    own = ("_value",) if isinstance(value, keras.Variable) else ("build", "quantize")
    state = {name: each for name, each in vars(value).items() if name not in own}
    if not calls:
        state |= {"_inbound_nodes": [], "_outbound_nodes": []}
    return state


def renew_tracker(value: Any) -> None:
    """Makes a copied layer or metric recognize the parts that it holds, which it knows by `id`."""
    tracker = getattr(value, "_tracker", None)
    if tracker is not None:
        tracker.stored_ids = {name: {id(each) for each in parts} for name, (_, parts) in tracker.config.items()}


def operation_settings(operation: keras.Operation) -> dict[str, Any]:
    """Returns what an operation was made with, by name; `get_config` refuses where one of the values is an array."""
    known = getattr(operation, "_auto_config", None)
    if known is not None:
        return operation.get_config()
    names = [name for name in signature(type(operation).__init__).parameters if name != "self"]
    return {name: getattr(operation, name) for name in names}


def takes_training(layer: Any) -> bool:
    """Returns whether a layer's `call` has an argument `training`."""
    return bool(getattr(layer, "_call_has_training_arg", False))


def inference_arguments(call: Any, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments of a recorded call, positional and named, in inference mode.

    Args:
        call: Keras' record of the call.
        values: A value for each symbolic tensor that it takes, by its `id`.
    """
    arguments, named = call.arguments.fill_in(values)
    return arguments, {**named, "training": False} if takes_training(call.operation) else named


def set_tensor_type(tensor: keras.KerasTensor, dtype: str) -> None:
    """Changes the type of a symbolic input, to which Keras casts what the model is given."""
    tensor._dtype = dtype


def set_mask(tensor: Any, mask: Any) -> None:
    """Attaches a mask to a tensor, which layers read that take one; Keras has no public way but a layer of its own."""
    set_keras_mask(tensor, mask)


def compile_settings(model: keras.Model) -> dict[str, Any]:
    """Returns the arguments that a model was compiled with."""
    return dict(model._compile_config.config)


def compiled_loss(model: keras.Model) -> tuple[Any, Any] | None:
    """Returns the loss that a model is compiled with, and the weights of losses; None if it is not compiled."""
    loss = getattr(model, "_compile_loss", None)
    return None if loss is None else (loss._user_loss, loss._user_loss_weights)


def loss_settings(loss: Any) -> tuple[str | None, dict[str, Any]]:
    """Returns the name of the function that a loss computes, and its arguments; None if it is not Keras' own.

    `get_config` does not have all arguments.

    Args:
        loss: A function, or an object of a class of losses.
    """
    own = type(loss).__module__.startswith("keras.")
    function = getattr(loss, "fn", None) if own else loss
    if not isinstance(function, FunctionType) or not function.__module__.startswith("keras."):
        return None, {}
    return function.__name__, dict(getattr(loss, "_fn_kwargs", {}))


def set_loss_precision(function: CompileLoss, dtype: str) -> None:
    """Makes a built loss compute in a type, with copies of the losses that the user may hold."""
    function._dtype_policy, function._dtype = keras.DTypePolicy(dtype), dtype
    for index, part in enumerate(function._flat_losses):
        single = part.loss
        if isinstance(single, keras.losses.Loss):
            # `copy.copy` would save and load it, which functions of the user do not survive.
            single = object.__new__(type(part.loss))
            vars(single).update(vars(part.loss))
            single._dtype_policy, single._dtype = keras.DTypePolicy(dtype), dtype
        function._flat_losses[index] = part._replace(loss=single)


def lambda_output_shape(layer: Any) -> Any:
    """Returns the output shape that a layer was given as an argument (`Lambda`, attention); None if none."""
    return getattr(layer, "_output_shape", None)


def attention_sizes(layer: Any) -> tuple[int, int, int]:
    """Returns the heads of multi-head attention, and the channels of a head in queries and keys, and in values."""
    return layer._num_heads, layer._key_dim, layer._value_dim


def has_gate(layer: Any) -> bool:
    """Returns whether an attention layer multiplies its output by a gate."""
    return bool(getattr(layer, "_use_gate", False) or getattr(layer, "use_gate", False))


def causal_padding(layer: keras.layers.Conv1D) -> Sequence[Sequence[int]]:
    """Returns the padding of a causal convolution, for each axis of its inputs."""
    return layer._compute_causal_padding()


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Returns the position of a variable among those that an optimizer was built for."""
    return optimizer._get_variable_index(variable)


def adam_moments(optimizer: keras.optimizers.Adam, index: int) -> tuple[keras.Variable, keras.Variable]:
    """Returns the first and second moments that Adam keeps of a variable."""
    return optimizer._momentums[index], optimizer._velocities[index]


def uses_weight_decay(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    """Returns whether a variable is subject to an optimizer's weight decay."""
    return optimizer._use_weight_decay(variable)


def stored_value(variable: keras.Variable) -> Any:
    """Returns the value of a variable in the type that it is stored in; within a layer, `value` may be rounded."""
    with AutocastScope(None):
        return variable.value


@contextmanager
def substituted_values(values: Sequence[tuple[keras.Variable, Any]]) -> Iterator[list[Any]]:
    """Lets layers read other values of some variables, in this thread and within the block.

    All else stays as it is: other variables are read and updated as without the block. `keras.StatelessScope` is not
    enough, as it holds back all updates and hides the values of a scope around it.

    Args:
        values: Variables, and the values that are read instead of their own.

    Yields:
        A list, to which losses are added that layers in the block add and that no scope around it collects.
    """
    scope = _Substitution(values)
    with scope:
        yield scope.losses if scope.outer is None else []


class _Substitution(keras.StatelessScope):
    def __init__(self, values: Sequence[tuple[keras.Variable, Any]]) -> None:
        self.outer = get_stateless_scope()
        collects = self.outer is None or self.outer.collect_losses
        super().__init__(collect_losses=collects, initialize_variables=self.outer is None)
        # Keras would make tensors of them; symbolic ones stay as they are.
        self.state_mapping.update((id(variable), value) for variable, value in values)
        if self.outer is not None:
            self.losses = self.outer.losses

    def get_current_value(self, variable: keras.Variable) -> Any:
        own = self.state_mapping.get(id(variable))
        return own if own is not None or self.outer is None else self.outer.get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        variable, value = update
        if id(variable) in self.state_mapping:
            self.state_mapping[id(variable)] = value
        if self.outer is None:
            variable._direct_assign(value)
        else:
            self.outer.add_update(update)


def forget_pending() -> None:
    """Forgets the variables that layers have asked for, and that could not be made.

    Keras tries again to make them whenever a layer is built, and offers no way to stop it.
    """
    set_global_attribute("uninitialized_variables", [])


@contextmanager
def no_weights() -> Iterator[None]:
    """Lets layers and models that are made within the block have variables of some shape, but no values, for good.

    `keras.StatelessScope(initialize_variables=False)` alone is not enough: the next scope makes what it left.
    """
    before = list(get_global_attribute("uninitialized_variables", []))
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        set_global_attribute("uninitialized_variables", before)


def load_state(
    model: keras.Model, arrays: Mapping[str, np.ndarray], assets: str | None
) -> list[tuple[keras.Layer, Exception]]:
    """Gives a model what it was saved with.

    `keras.Model.load_weights` takes files only, which the HDF5 library opens.

    Args:
        model: The model.
        arrays: Its weights by their names in a `.keras` file.
        assets: The folder of files that its layers read, such as vocabularies; None if there are none.

    Returns:
        What could not be loaded, with the error.
    """
    errors: dict[int, tuple[keras.Layer, Exception]] = {}
    _load_state(
        model,
        weights_store=_Arrays(arrays),
        assets_store=None if assets is None else DiskIOStore(assets, mode="r"),
        inner_path="",
        visited_saveables=set(),
        failed_saveables=set(),
        error_msgs=errors,
    )
    return list(errors.values())


class _Arrays(NpzIOStore):
    """Arrays in memory as Keras reads them: of each layer by their positions."""

    _OLD_LAYERS = "_layer_checkpoint_dependencies"  # in files of Keras 2.13

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._layers: dict[str, dict[str, np.ndarray]] = {}
        self._paths: set[str] = set()
        for name, array in arrays.items():
            group, _, key = name.rpartition("/")
            self._layers.setdefault(group, {})[key] = array
            self._paths |= {name[:end] for end, letter in enumerate(name) if letter == "/"}

    def get(self, path: str) -> dict[str, np.ndarray]:
        names = (f"{each}/vars".lstrip("/") for each in (path, path.replace("layers", self._OLD_LAYERS)))
        return next((self._layers[name] for name in names if name in self._layers), {})

    def has_path(self, path: str) -> bool:
        return path in self._paths
