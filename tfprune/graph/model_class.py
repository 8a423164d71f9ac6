"""Copies of models that stay of their own class: training steps, attributes, what is lost.

A class derived from `keras.Model` may be given a graph, as `Mine(inputs, outputs)`, or make one in its constructor, as
the tasks of KerasHub do. Its copy is an instance of the same class that its constructor did not make: it has a graph
of its own, and the attributes of the old model, in which layers of the old graph are replaced by those of the new one.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras

from tfprune.graph.duplicate import duplicated
from tfprune.graph.layer_copies import random_state_kept
from tfprune.keras_private import TRAINING_STATE, Functional, flat_layers, functional_like, reorder_parts
from tfprune.layers import GlobalSubnet

_OF_FILES = ("get_build_config", "build_from_config", "compile_from_config", "get_compile_config", "compute_mask")


class ModelClassWarning(UserWarning):
    """A copy of a model lacks something of the model's own class.

    Args:
        lost: What is lost, as `(model, text)`.
    """

    def __init__(self, lost: Sequence[tuple[keras.Model, str]]) -> None:
        super().__init__("; ".join(f"{model.name} ({_class_name(model)}): {text}" for model, text in lost))


def _class_name(model: Any) -> str:
    """Returns the name of a model's class; of one that is derived from the user's, the user's."""
    kind = type(model)
    return kind.__mro__[1].__name__ if isinstance(model, GraphModel) else kind.__name__


def has_own_class(model: Any) -> bool:
    """Returns whether a model's class is none of Keras' and ours."""
    return type(model) not in (keras.Model, Functional, keras.Sequential, GlobalSubnet)


def model_like(model: keras.Model, inputs: Any, outputs: Any) -> keras.Model:
    """Makes a functional model of the class of another one.

    Args:
        model: The other model.
        inputs: Symbolic inputs, in the structure that the model takes.
        outputs: Symbolic outputs, in the structure that it returns.

    Returns:
        The model, without the attributes of the other one. If its class makes the graph itself, it is of a derived
        class, which is saved as a functional model.
    """
    if not has_own_class(model) or isinstance(model, keras.Sequential):
        return keras.Model(inputs, outputs, name=model.name)
    kind: Any = type(model) if is_saved_with_its_graph(model) else _saved_as(Functional, type(model))
    new = kind.__new__(kind)
    Functional.__init__(new, inputs, outputs, name=model.name)
    return new


def ensure_loadable(model: Any) -> None:
    """Makes a copy one that is saved as a functional model, if its class would load another one from its configuration.

    Some classes write a graph into the configuration, and make it again from other settings that they write.

    Args:
        model: A functional model with the attributes of its class. Its class may change to a derived one.
    """
    kind = type(model)
    if not has_own_class(model) or isinstance(model, keras.Sequential) or kind.get_config is Functional.get_config:
        return
    own = {type(each).__name__: type(each) for each in flat_layers(model)}
    try:
        # The user may register them only where a file is loaded.
        with random_state_kept(), keras.saving.custom_object_scope(own):
            again = kind.from_config(model.get_config())
        alike = [each.shape for each in again.variables] == [each.shape for each in model.variables]
    except Exception:  # any error of the user's methods
        alike = False
    if not alike:
        model.__class__ = _saved_as(Functional, kind)


def sequential_like(model: keras.Sequential, layers: list[Any]) -> keras.Sequential:
    """Makes a sequential model of the class of another one, of these layers; see `model_like`."""
    if not has_own_class(model):
        return keras.Sequential(layers, name=model.name)
    kind: Any = type(model) if is_saved_with_its_graph(model) else _saved_as(keras.Sequential, type(model))
    new = kind.__new__(kind)
    keras.Sequential.__init__(new, layers, name=model.name)
    return new


def is_saved_with_its_graph(model: keras.Model) -> bool:
    """Returns whether a file of a model holds its layers, not arguments from which its class makes layers."""
    kind: Any = type(model)
    if isinstance(model, keras.Sequential):
        return kind.__init__ is keras.Sequential.__init__ and kind.get_config is keras.Sequential.get_config
    if not functional_like(kind):
        return False
    try:
        return kind.get_config is Functional.get_config or "layers" in model.get_config()
    except Exception:  # any error of the user's method
        return False


def _saved_as(base: Any, kind: Any) -> Any:
    """Returns a class derived from a model's, of which Keras saves what it saves of a base class, under its name."""
    methods: dict[str, Any] = {name: getattr(base, name) for name in ("__init__", "get_config")}
    methods["from_config"] = classmethod(base.from_config.__func__)
    return type(kind)(base.__name__, (kind,), {"__module__": base.__module__, **methods})


class GraphModel(Functional):
    """A functional model whose `call` takes no further arguments, which a graph cannot heed."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Runs the graph."""
        return super().call(inputs, training=training, mask=mask)


def derived_with_graph(kind: Any) -> Any:
    """Returns a class derived from one of `keras.Model`, whose instances have a graph and are saved by it.

    Args:
        kind: A class whose `call` and `build` are its own.

    Returns:
        The class; None if there can be none, as of sequential models.
    """
    if issubclass(kind, keras.Sequential):
        return None
    own = [each for each in kind.__mro__ if each not in GraphModel.__mro__]
    methods: dict[str, Any] = {
        name: getattr(GraphModel, name)
        for name in {**vars(keras.Function), **vars(Functional), **dict.fromkeys(_OF_FILES)}
        if any(name in vars(each) for each in own) and not name.startswith("__")
    }
    try:
        base = type(kind)(kind.__name__, (kind, GraphModel), {**methods, "__module__": kind.__module__})
    except TypeError:  # the orders of its and Keras' base classes contradict each other
        return None
    return _saved_as(Functional, base)


def carry_attributes(
    model: keras.Model,
    new: keras.Model,
    counterparts: Mapping[int, Any],
    left_out: Collection[int] = (),
    *,
    share_fixed: bool = True,
) -> list[str]:
    """Gives a copy of a model the attributes that were set on the model.

    Layers of the graph, the model and its optimizer become those of the copy. Other layers that can be trained, metrics
    and variables are copied; optimizers are new ones. A layer or model that has nothing to train, such as a teacher, is
    shared, as are functions and what Python cannot copy, such as data sets.

    Args:
        model: The old model.
        new: The copy, of the class of the old one. It is changed.
        counterparts: The new object for each old one of the graph, by `id` of the old one.
        left_out: The `id`s of layers that the copy lacks: lists and dicts of layers lose them.
        share_fixed: Share layers and models that have nothing to train.

    Returns:
        The names of the attributes that cannot be carried over.
    """
    own = {name: value for name, value in vars(model).items() if name not in {*vars(new), *TRAINING_STATE}}
    gone = [name for name, value in own.items() if id(value) in left_out]
    own = {name: _remaining(value, left_out) for name, value in own.items() if name not in gone}
    lost: list[str] = []
    try:
        values = duplicated(own, counterparts, share_fixed=share_fixed)
    except Exception:  # of any object of the user
        values, lost = _what_can_be_copied(own, counterparts, share_fixed)
    for name, value in values.items():
        setattr(new, name, value)
    if not isinstance(model, keras.Sequential | GraphModel):  # files of that have the order of the graph
        reorder_parts(new, model, counterparts, left_out)
    return [*gone, *lost]


def _remaining(value: Any, left_out: Collection[int]) -> Any:
    """Returns an attribute; where it is a list or dict with layers that were left out, one without them."""
    if isinstance(value, list | tuple) and any(id(each) in left_out for each in value):
        kind = list if isinstance(value, list) else tuple
        return kind(each for each in value if id(each) not in left_out)
    if isinstance(value, dict) and any(id(each) in left_out for each in value.values()):
        return {name: each for name, each in value.items() if id(each) not in left_out}
    return value


def _what_can_be_copied(
    own: Mapping[str, Any], counterparts: Mapping[int, Any], share_fixed: bool
) -> tuple[dict[str, Any], list[str]]:
    """Returns the attributes that can be copied or shared, and the names of others."""
    strange: dict[str, Any] = {}
    for name, value in own.items():
        try:
            duplicated({name: value}, counterparts, share_fixed=share_fixed)
        except Exception:  # of any object of the user
            strange[name] = value
    # Those that can be copied are copied together: they may hold the same layers.
    rest = {name: value for name, value in own.items() if name not in strange}
    lost = [name for name, value in strange.items() if _holds_keras(value)]
    shared = {name: value for name, value in strange.items() if name not in lost}
    return {**duplicated(rest, counterparts, share_fixed=share_fixed), **shared}, lost


def _holds_keras(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return any(map(_holds_keras, value))
    return isinstance(value, (keras.Operation, keras.Variable, keras.KerasTensor))


def warn_of_losses(lost: Sequence[tuple[keras.Model, str]]) -> None:
    """Warns with `ModelClassWarning` if anything is lost."""
    if lost:
        warnings.warn(ModelClassWarning(lost), stacklevel=4)
