"""The rules by layer class, and helpers that several rules use."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import keras
import numpy as np

from tfprune.errors import ConfigError, UnsupportedLayerError, suggestion
from tfprune.graph.calls import Call
from tfprune.graph.labels import Axes, Labels, Vector
from tfprune.graph.rules.layer_trials import Treatment, tried
from tfprune.graph.rules.probing import channel_axis as channel_axis  # for all rules
from tfprune.graph.rules.probing import mixing
from tfprune.keras_private import EXPORT_MARKS, flat_layers
from tfprune.layers.kernels import stock_class
from tfprune.layers.masked import Masked
from tfprune.reprs import described

Rule = Callable[[Labels, Call], None]
"""Reads the labels of a call's inputs, sets those of its outputs, and notes slots, edits and costs."""

MASKED = "its mask has one value for each of them"
"""Reason of layers that are given a mask."""

POSITIONS = "they are positions there, not channels"
"""Reason of layers along whose axis nothing can be removed, as it is no axis of channels."""

_NOT_BY_THEMSELVES = "it does not compute each of them by itself, or none of its settings is their number"

_RULES: dict[type, Rule] = {}
_OF_ONE_TENSOR: set[Rule] = set()
_OF_ALL_AXES: set[Rule] = set()
_DECLARED: list[Any] = []
_MIXING = ("softmax", "log_softmax", "sparsemax", "glu")
_HARMLESS = {
    *("__init__", "get_config", "from_config", "compute_output_shape", "compute_output_spec", "compute_mask"),
    *("__module__", "__doc__", "__qualname__", "__annotations__", "__firstlineno__", "__static_attributes__"),
    *("__dict__", "__weakref__", *EXPORT_MARKS),
}


def rule(*kinds: type, several: bool = False, masks: bool = False, all_axes: bool = False) -> Callable[[Rule], Rule]:
    """Registers the decorated function as the rule of some layer classes.

    Args:
        *kinds: The classes.
        several: Whether the rule reads all tensors that a call takes. Otherwise it reads the first one, and calls with
            several tensors block pruning.
        masks: Whether the call may also take a mask of one value per position, whose axes are pinned.
        all_axes: Whether the rule follows labels along the first axis, too. Otherwise calls whose inputs have any there
            block pruning.
    """

    def register(function: Rule) -> Rule:
        found = function if several else _of_one_tensor(function, masks)
        _RULES.update(dict.fromkeys(kinds, found))
        if all_axes:
            _OF_ALL_AXES.add(found)
        return function

    return register


def _of_one_tensor(function: Rule, masks: bool) -> Rule:
    def guarded(labels: Labels, call: Call) -> None:
        masked = masks and len(call.inputs) == 2 and _is_mask(call, *call.inputs)
        if len(call.inputs) != 1 and not masked:
            labels.leave_alone(call, "no rule for calls on several tensors")
            return
        for tensor in call.inputs[1:]:
            labels.pin(*labels.of(tensor), reason=MASKED)
        function(labels, call)

    _OF_ONE_TENSOR.add(guarded)
    return guarded


def takes_one_tensor(layer: keras.Operation) -> bool:
    """Returns whether a layer has a rule, and the rule reads a single tensor."""
    return rule_for(layer) in _OF_ONE_TENSOR


def _is_mask(call: Call, tensor: keras.KerasTensor, other: keras.KerasTensor) -> bool:
    _, named = call.arguments({id(each): each for each in call.inputs})
    return len(other.shape) == len(tensor.shape) - 1 and named.get("mask") is other


def rule_for(layer: keras.Operation) -> Rule:
    """Finds the rule of a layer's class, or of the class it derives from if it computes the same.

    Args:
        layer: A layer or operation.

    Returns:
        The rule; for a class without one, a rule that pins all channels it touches. A class that overrides methods of
        its base class may compute anything, so it needs a rule of its own.
    """
    parts = flat_layers(layer) if isinstance(layer, keras.Layer) else ()
    if any(getattr(part, "lora_enabled", False) or getattr(part, "quantization_mode", None) for part in parts):
        return _other_weights
    own = type(layer).__mro__
    kind = next((kind for kind in own if _stock(kind) in _RULES), None)
    if kind is None or any(_replaces(each, kind) for each in own[: own.index(kind)]):
        return _masked_weights if isinstance(layer, Masked) else _no_rule
    return _RULES[_stock(kind)]


def apply_rule(labels: Labels, call: Call) -> None:
    """Reads the labels of a call's inputs, and sets those of its outputs."""
    found = rule_for(call.layer)
    if found not in _OF_ALL_AXES and any(labels.first(tensor) is not None for tensor in call.inputs):
        labels.leave_alone(call, "no rule for channels along its first axis")
    else:
        found(labels, call)


def has_rule(layer: keras.Operation) -> bool:
    """Returns whether a layer has a rule; others are tried, or left alone."""
    return rule_for(layer) is not _no_rule


def has_rule_of(layer: keras.Operation, kind: type) -> bool:
    """Returns whether a layer treats channels like layers of a class."""
    found, meant = rule_for(layer), _RULES[kind]
    return getattr(found, "__wrapped__", found) is getattr(meant, "__wrapped__", meant)


def _replaces(derived: type, kind: type) -> bool:
    """Returns whether `derived` overrides a method of `kind` other than construction."""
    return any(hasattr(kind, name) for name in set(vars(derived)) - _HARMLESS)


def _stock(kind: type) -> type:
    """Returns the class whose rule a class has: a channel-masked layer treats channels like the one it stands for."""
    return kind if kind in _RULES else stock_class(kind, "channel_masked") or kind


def _other_weights(labels: Labels, call: Call) -> None:
    labels.leave_alone(call, "its weights are quantized or have low-rank additions; prune first")


def _masked_weights(labels: Labels, call: Call) -> None:
    labels.leave_alone(call, 'its weights are masked one by one; convert the model to "plain" before cutting channels')


_OF_ONE_TENSOR.add(_masked_weights)


def _no_rule(labels: Labels, call: Call) -> None:
    """Tries a layer without a rule (`rules.layer_trials`); if no trial tells what it does, it is left alone.

    Layers of Keras that work on inputs, such as lookups, are not reported: there is no channel that they could hold.
    """
    found = tried(call)
    if found is not None:
        _treat(labels, call, found)
        return
    trained = getattr(call.layer, "trainable_weights", ())
    if type(call.layer).__module__.startswith("keras.") and not trained and not _labelled(labels, call):
        for tensor in call.outputs:
            labels.put(tensor, (None,) * (len(tensor.shape) - 1))
        return
    why = labels.closed.get(call.name)
    stopped = f", and its code cannot be read on symbolic tensors ({why})" if why else ""
    labels.leave_alone(call, f"no rule for {type(call.layer).__name__}{stopped}; give one to tfprune.register_rule")


def _labelled(labels: Labels, call: Call) -> bool:
    return any(vector is not None for tensor in call.inputs for vector in labels.of(tensor))


def _treat(labels: Labels, call: Call, found: Treatment) -> None:
    """Passes channels on, or gives out new ones, and notes what was found to depend on them."""
    output = call.outputs[0]
    reads, makes = found.width("reads"), found.width("makes")
    if reads is None:
        labels.pin(*(vector for tensor in call.inputs for vector in labels.of(tensor)))
    elif found.kind == "normalized":
        labels.put(output, labels.of(call.inputs[0]))
    else:
        pin_all_but(labels, labels.of(call.inputs[0]), (reads.reads or 0) - 1)
    vectors = []
    for width in found.widths:
        if width.reads is not None:
            channels = labels.of(call.inputs[0])[width.reads - 1]
        else:
            channels = labels.make(call, width.count, "" if width.makes is not None else width.settings[0])
        vectors.append(channels)
        for weight, axis, role in width.weights:
            labels.slot(call, weight, axis, channels, role)
        for setting in width.settings:
            labels.edit(call, setting, channels)
        if width is makes and found.kind != "normalized":
            labels.put(output, only((width.makes or 0) - 1, channels, output))
    if makes is None:
        made = labels.make(call, output.shape[-1] or 0) if len(output.shape) > 1 else None
        labels.pin(made, reason=_NOT_BY_THEMSELVES)
        labels.put(output, only(len(output.shape) - 2, made, output))
    if found.cost is not None and call.layer.weights:
        labels.cost(call, 0)
        for constant, indices in found.cost:
            some = tuple(vectors[index] for index in indices)
            labels.cost(call, constant * extent(some, [found.widths[index].count for index in indices]), *some)


def register_rule(kind: Any, like: type | Rule) -> None:
    """Registers how layers of a class treat channels, or that a function computes each value separately.

    A layer or function that is not registered is tried on random inputs: if each channel of its result depends on the
    same channel of its input only, it needs no rule.

    Args:
        kind: A layer class; or an activation function, with `like=keras.layers.ReLU`.
        like: A class with a rule that treats channels in the same way; or a function of `(labels, call)` that reads
            the labels of the call's inputs, sets those of its outputs, and notes which weight axes run over them. The
            rule of a class reads the attributes of that class; reading a model whose layer lacks one is an
            `UnsupportedLayerError`.

    Raises:
        UnsupportedLayerError: `like` is a class without a rule, or does not fit a function.
        ConfigError: `kind` is neither a class nor a function, or `like` neither a class nor a function.

    Example:
        >>> import keras
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.factor = self.add_weight(shape=shape[-1:], initializer="ones")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        >>> def scale_rule(labels, call):
        ...     axes = labels.of(call.inputs[0])
        ...     labels.slot(call, "factor", -1, axes[-1], "pass")
        ...     labels.put(call.outputs[0], axes)
        >>> register_rule(Scale, scale_rule)
    """
    if not isinstance(kind, type):
        if not callable(kind):
            raise ConfigError(
                f"register_rule: expected a class of layers or an activation function, received {described(kind)}"
            )
        if like is not keras.layers.ReLU:
            raise UnsupportedLayerError(
                f"expected a class of layers, or a function with like=keras.layers.ReLU, received {described(kind)} "
                f"with like={described(like)}"
            )
        _DECLARED.append(kind)
    elif not isinstance(like, type):
        if not callable(like):
            raise ConfigError(f"register_rule: expected a class with a rule, or a function, received {described(like)}")
        _RULES[kind] = like
    elif like in _RULES:
        _RULES[kind] = _borrowed(kind, like)
    else:
        near = suggestion(like.__name__, {each.__name__ for each in _RULES})
        raise UnsupportedLayerError(
            f"expected a class of layers that has a rule, such as Conv2D, or a function, received {like.__name__}{near}"
        )


def _borrowed(kind: type, like: type) -> Rule:
    """Returns the rule of `like` for layers of a class, with one line as the error where these lack what it reads."""
    original = _RULES[like]

    @wraps(original)
    def checked(labels: Labels, call: Call) -> None:
        try:
            original(labels, call)
        except AttributeError as error:
            if not isinstance(error.obj, kind):
                raise
            raise UnsupportedLayerError(
                f"{call.name} ({kind.__name__}): the rule of {like.__name__}, as registered, reads the attribute "
                f"{error.name!r}, which the layer lacks; name it so, or register a function as the rule"
            ) from error

    if original in _OF_ONE_TENSOR:
        _OF_ONE_TENSOR.add(checked)
    return checked


def after_batch(axis: int, tensor: keras.KerasTensor) -> int:
    """Returns the index after the batch axis of an axis that is counted with it; -1 for the batch axis itself."""
    return axis % len(tensor.shape) - 1


def put_whole(labels: Labels, tensor: keras.KerasTensor, axes: Sequence[Vector]) -> Axes:
    """Sets the labels of a tensor whose first axis may come from another one; what is along it stays.

    Args:
        labels: Where they are set.
        tensor: The tensor.
        axes: One vector for each axis, the first one included.

    Returns:
        Those after the first one.
    """
    first, *others = axes
    labels.pin(first, reason="it moves them to the batch axis")
    labels.put(tensor, others)
    return tuple(others)


def positions(sizes: Iterable[int | None]) -> int:
    """Returns the number of positions of some axes; unknown sizes count as 1."""
    return int(np.prod([size or 1 for size in sizes], dtype=np.int64))


def pin_all_but(labels: Labels, axes: Axes, kept: int) -> Vector:
    """Pins the labels of all axes but one, which a layer treats as positions, and returns that one's."""
    positional = (vector for index, vector in enumerate(axes) if index != kept)
    labels.pin(*positional, reason=POSITIONS)
    return axes[kept]


def only(axis: int, vector: Vector, tensor: keras.KerasTensor) -> Axes:
    """Returns labels on one axis of a tensor, none on the others."""
    return tuple(vector if index == axis else None for index in range(len(tensor.shape) - 1))


def extent(vectors: Axes, sizes: Iterable[int | None]) -> int:
    """Returns the number of positions along the axes that have no labels."""
    return positions(size for vector, size in zip(vectors, sizes, strict=True) if vector is None)


def mixing_activation(layer: Any) -> str:
    """Returns why a layer's activation cannot lose channels, to complete a reason; empty if it can."""
    return mixing_function(getattr(layer, "activation", None), layer.compute_dtype)


def mixing_function(function: Any, dtype: str = "float32") -> str:
    """Returns why a function cannot lose channels; empty if it computes each value separately.

    Keras' own activations are known, others are tried on random values (`rules.probing`).

    Args:
        function: An activation function; None for none.
        dtype: What its layer computes in.
    """
    if function is None or any(function is each for each in _DECLARED):
        return ""
    name = getattr(function, "__name__", type(function).__name__)
    if getattr(keras.activations, name, None) is function:
        why = "mixes them" if name in _MIXING else ""
    else:
        why = mixing(function, dtype)
    return f"its activation {name} {why}" if why else ""


def named_arguments(call: Call) -> dict[str, Any]:
    """Returns the arguments that an operation is called with, by name; tensors are those of the call."""
    arguments, named = call.arguments({id(tensor): tensor for tensor in call.inputs})
    return dict(signature(call.layer.call).bind(*arguments, **named).arguments)


def keep_order(labels: Labels, call: Call, *vectors: Vector) -> None:
    """Notes that zero channels among others would change what an operation computes, or are not allowed.

    A search pads channels with zeros at the end of each part, so it leaves such channels alone
    (`graph.executable_groups`): where the order changes, channels are summed, or zero has no finite result.
    """
    if any(vector is not None for vector in vectors):
        first = next(iter(signature(call.layer.call).parameters))
        labels.edit(call, first, *vectors, change=lambda old, kept: old, argument=True)


def constants_of(call: Call) -> list[Any]:
    """Returns the arguments of a call that are arrays of more than one value and not symbolic tensors."""
    arguments, named = call.arguments({id(tensor): None for tensor in call.inputs})
    leaves = keras.tree.flatten((arguments, named))
    return [leaf for leaf in leaves if np.prod(getattr(leaf, "shape", ()), dtype=np.int64) > 1]


def registered_kinds() -> set[type]:
    """Returns the classes that have a rule."""
    return set(_RULES)
