"""Which rule belongs to which kind of layer."""

from collections.abc import Callable

import keras

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels

Rule = Callable[[Labels, Call], None]
"""Says what a layer does to labels: reads those of the call's inputs, sets those of its outputs, notes slots."""

_RULES: dict[type, Rule] = {}


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    """Registers the decorated function as the rule of some layer classes."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def rule_for(layer: keras.Operation) -> Rule:
    """Finds the rule of a layer's class, or of the class it derives from if it computes the same.

    Args:
        layer: A layer or operation.

    Returns:
        The rule; for a kind without one, the rule that leaves all channels it touches alone. A class that has methods
        `call` or `build` of its own may do anything, so it needs a rule of its own.
    """
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        return _other_weights
    own = type(layer)
    kind = next((kind for kind in own.__mro__ if kind in _RULES), None)
    if kind is None or any(getattr(own, name, None) is not getattr(kind, name, None) for name in ("call", "build")):
        return _no_rule
    return _RULES[kind]


def _other_weights(labels: Labels, call: Call) -> None:
    labels.leave_alone(call, "its weights are quantized or have low-rank additions; prune first")


def _no_rule(labels: Labels, call: Call) -> None:
    labels.leave_alone(call, f"no rule for {type(call.layer).__name__}; give one to tfprune.register_rule")


def register_rule(kind: type, like: type | Rule) -> None:
    """Says how layers of a class treat channels.

    Args:
        kind: A layer class.
        like: A class that treats channels in the same way and has a rule; or a function of `(labels, call)` that reads
            the labels of the call's inputs, sets those of its outputs, and notes which weight axes run over them.

    Raises:
        UnsupportedLayerError: `like` is a class without a rule.

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
    if not isinstance(like, type):
        _RULES[kind] = like
    elif like in _RULES:
        _RULES[kind] = _RULES[like]
    else:
        known = ", ".join(sorted({each.__name__ for each in _RULES}))
        raise UnsupportedLayerError(f"expected one of {known}, or a function, received {like.__name__}")
