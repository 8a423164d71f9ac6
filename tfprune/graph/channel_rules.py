"""What each kind of layer does to the channels of its input: one short rule per kind."""

from collections.abc import Callable

import keras
import numpy as np

from tfprune.errors import UnsupportedLayerError
from tfprune.graph.calls import Call

layers = keras.layers


class Labels:
    """Labels of the channels of all tensors, with union-find over them.

    Attributes:
        born: Per layer name, the labels that it gave out.
        slots: Per layer name, `(weight, axis, labels, role)` of each weight axis that runs over channels.
        unknown: Layers without a rule.
    """

    def __init__(self) -> None:
        self.born: dict[str, np.ndarray] = {}
        self.slots: dict[str, list[tuple[str, int, np.ndarray, str]]] = {}
        self.unknown: list[str] = []
        self._parent: list[int] = []
        self._pinned: set[int] = set()
        self._of_tensor: dict[int, np.ndarray] = {}

    @property
    def count(self) -> int:
        """Labels given out so far."""
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """Gives out `count` new labels."""
        new = np.arange(self.count, self.count + count)
        self._parent.extend(new.tolist())
        return new

    def find(self, label: int) -> int:
        """The label that stands for all labels united with this one."""
        while self._parent[label] != label:
            self._parent[label] = self._parent[self._parent[label]]
            label = self._parent[label]
        return label

    def roots(self, labels: np.ndarray) -> np.ndarray:
        """`find` for each label of an array."""
        return np.array([self.find(label) for label in labels.tolist()], dtype=int)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Unites two equally long arrays of labels position by position; the older label stands for both."""
        for a, b in zip(self.roots(first).tolist(), self.roots(second).tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            if low == high:
                continue
            self._parent[high] = low
            if high in self._pinned:
                self._pinned.add(low)

    def pin(self, labels: np.ndarray) -> None:
        """Marks channels as not prunable."""
        self._pinned.update(self.roots(labels).tolist())

    def is_pinned(self, label: int) -> bool:
        """Whether a channel is marked as not prunable."""
        return self.find(label) in self._pinned

    def of(self, tensor: keras.KerasTensor) -> np.ndarray:
        """Labels along the last axis of a tensor."""
        return self._of_tensor[id(tensor)]

    def put(self, call: Call, labels: np.ndarray) -> None:
        """Sets the labels of a call's single output."""
        self._of_tensor[id(call.outputs[0])] = labels

    def slot(self, call: Call, weight: str, axis: int, labels: np.ndarray, role: str) -> None:
        """Records that an axis of a weight runs over channels; a weight that the layer lacks is passed over."""
        if getattr(call.layer, weight, None) is not None:
            self.slots.setdefault(call.name, []).append((weight, axis, labels, role))

    def make(self, call: Call, count: int) -> np.ndarray:
        """Gives out the labels of a layer that computes new channels."""
        if call.name in self.born:
            raise UnsupportedLayerError(
                f"layer {call.name} is called more than once; expected each layer with weights to be called once"
            )
        self.born[call.name] = self.fresh(count)
        self.put(call, self.born[call.name])
        return self.born[call.name]


Rule = Callable[[Labels, Call], None]


def _input(labels: Labels, call: Call) -> None:
    channels = labels.fresh(call.outputs[0].shape[-1] or 1)
    labels.pin(channels)
    labels.put(call, channels)


def _conv(labels: Labels, call: Call) -> None:
    if call.layer.groups != 1:
        _unknown(labels, call)
    else:
        _kernel(labels, call, call.layer.filters)


def _depthwise_conv(labels: Labels, call: Call) -> None:
    channels = labels.of(call.inputs[0])
    labels.slot(call, "kernel", -2, channels, "pass")
    out = np.repeat(channels, call.layer.depth_multiplier)
    labels.slot(call, "bias", -1, out, "pass")
    labels.put(call, out)


def _dense(labels: Labels, call: Call) -> None:
    _kernel(labels, call, call.layer.units)


def _kernel(labels: Labels, call: Call, width: int) -> None:
    """A kernel `[..., in, out]`: reads the input's channels, makes `width` new ones."""
    labels.slot(call, "kernel", -2, labels.of(call.inputs[0]), "in")
    made = labels.make(call, width)
    labels.slot(call, "kernel", -1, made, "out")
    labels.slot(call, "bias", -1, made, "out")


def _batch_norm(labels: Labels, call: Call) -> None:
    channels = labels.of(call.inputs[0])
    for weight in ("gamma", "beta", "moving_mean", "moving_variance"):
        labels.slot(call, weight, -1, channels, "pass")
    labels.put(call, channels)


def _pass(labels: Labels, call: Call) -> None:
    labels.put(call, labels.of(call.inputs[0]))


def _flatten(labels: Labels, call: Call) -> None:
    positions = int(np.prod(call.inputs[0].shape[1:-1], dtype=int))
    labels.put(call, np.tile(labels.of(call.inputs[0]), positions))


def _merge(labels: Labels, call: Call) -> None:
    first, *others = (labels.of(tensor) for tensor in call.inputs)
    if any(len(other) != len(first) for other in others):
        _unknown(labels, call)
        return
    for other in others:
        labels.unite(first, other)
    labels.put(call, first)


def _unknown(labels: Labels, call: Call) -> None:
    for tensor in call.inputs:
        labels.pin(labels.of(tensor))
    for tensor in call.outputs:
        channels = labels.fresh(tensor.shape[-1] or 1)
        labels.pin(channels)
        labels._of_tensor[id(tensor)] = channels
    labels.unknown.append(f"{call.name} ({type(call.layer).__name__})")


_RULES: dict[type, Rule] = {
    layers.InputLayer: _input,
    layers.Conv2D: _conv,
    layers.DepthwiseConv2D: _depthwise_conv,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_norm,
    layers.Add: _merge,
    layers.Flatten: _flatten,
    **dict.fromkeys(
        (
            layers.Activation,
            layers.ReLU,
            layers.LeakyReLU,
            layers.Dropout,
            layers.SpatialDropout2D,
            layers.MaxPooling2D,
            layers.AveragePooling2D,
            layers.GlobalAveragePooling2D,
            layers.GlobalMaxPooling2D,
            layers.ZeroPadding2D,
        ),
        _pass,
    ),
}


def rule_for(layer: keras.Operation) -> Rule:
    """Finds the rule of a layer's class, or of the nearest class it derives from.

    Args:
        layer: A layer or operation.

    Returns:
        The rule; for a kind without one, the rule that pins all channels it touches.
    """
    for kind in type(layer).__mro__:
        if kind in _RULES:
            return _RULES[kind]
    return _unknown


def register_rule(kind: type, like: type) -> None:
    """Says that layers of class `kind` treat channels as those of class `like` do.

    Args:
        kind: A layer class without a rule of its own.
        like: A layer class that has one.

    Raises:
        UnsupportedLayerError: `like` has no rule.
    """
    if like not in _RULES:
        known = ", ".join(sorted(each.__name__ for each in _RULES))
        raise UnsupportedLayerError(f"expected one of {known}, received {like.__name__}")
    _RULES[kind] = _RULES[like]
