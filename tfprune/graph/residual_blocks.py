"""Residual blocks of a model: parts that are added to what they read, so that the model runs without them.

A block is found where a sum adds what a branch computes to the branch's own input, or to another term of the same sum;
or it is one layer that has such a sum within it, such as a transformer layer. Without the first kind, the sum is the
other term, as if the branch gave zeros; without the second kind, its input is passed on. Layers that hold several of
the second kind, such as the encoder of a vision transformer, are opened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from tfprune.arguments import truth
from tfprune.errors import ConfigError
from tfprune.graph.calls import Call, ModelGraph, OpenedLayer, model_graph
from tfprune.graph.layer_copies import copied_layer
from tfprune.graph.model_widths import model_widths
from tfprune.graph.opened_graph import is_general, is_opaque
from tfprune.graph.prunable_weights import ADDITIONS
from tfprune.graph.rebuild import rebuild
from tfprune.graph.rules.lookup import has_rule
from tfprune.graph.traced_cost import PRODUCTS, traced_flops, traced_graph
from tfprune.layers.kernels import prunable_kernels
from tfprune.reprs import short_repr

_SUMS = ("AddV2", "Add")
_VALUES_UNREAD = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike")
"""Operations of TensorFlow whose results depend on the shape of what they are given only."""

_SAME_VALUES = ("Identity", "Cast", "Reshape", "Transpose", "ExpandDims", "Squeeze")
_SKIPS: WeakKeyDictionary[Any, tuple[int, ...] | None] = WeakKeyDictionary()
"""What `_held_skip` found, for layers that were looked at before."""


@dataclass(frozen=True, eq=False)
class ResidualBlock:
    """A part of a model that can be left out.

    Attributes:
        name: Name of its layer, or of the sum that it ends in; `:2` and so on is added where a name stands for several.
        call: The call of that layer or sum.
        passed: For each output of the call, the position of the input that takes its place where the block is left out.
        calls: The calls that go with it, the one above included.
        graph: The graph of the model, in which layers that hold several blocks are opened.
    """

    name: str
    call: Call
    passed: tuple[int, ...]
    calls: tuple[Call, ...]
    graph: ModelGraph

    __repr__ = short_repr

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that go with the block."""
        return tuple(dict.fromkeys(call.name for call in self.calls))

    @property
    def opened(self) -> tuple[OpenedLayer, ...]:
        """The opened layers that hold the block, the outermost first."""
        return tuple(layer for layer in self.graph.opened if self.call.name.startswith(f"{layer.name}/"))


def residual_blocks(model: keras.Model, *, keep_classes: bool = False) -> tuple[ResidualBlock, ...]:
    """Finds the residual blocks of a model that can be left out, in the order of its calls.

    A block contains products of what it reads, such as convolutions. All that goes with it is used nowhere else: a
    layer that is also called elsewhere stays, and so does the block. Of blocks within each other, the innermost counts.
    A layer that holds several blocks in layers of their own, such as the encoder of a vision transformer, is opened. It
    becomes a functional model where one of them is left out.

    Args:
        model: A functional or sequential model, built. It is not changed.
        keep_classes: Whether layers stay of their class, so that blocks within them are left alone.

    Returns:
        The blocks, of different names. Any of them can be left out together.

    Raises:
        UnsupportedLayerError: The model has no graph.

    Example:
        >>> x = keras.Input((4,))
        >>> y = keras.layers.Dense(4)(x)
        >>> model = keras.Model(x, keras.layers.Add(name="sum")([x, y]))
        >>> [block.name for block in residual_blocks(model)]
        ['sum']
    """
    graph, closed = _with_stacks_opened(model, truth("keep_classes", keep_classes))
    terms = _Terms(graph, closed)
    found = [block for call in graph.calls if (block := terms.block(call)) is not None]
    ends = {id(block.call) for block in found}
    inner = [block for block in found if len(ends & {id(call) for call in block.calls}) == 1]
    names: dict[str, int] = {}
    blocks = []
    for block in inner:
        names[block.name] = number = names.get(block.name, 0) + 1
        name = block.name if number == 1 else f"{block.name}:{number}"
        blocks.append(replace(block, name=name))
    return tuple(blocks)


def without_blocks(
    model: keras.Model,
    blocks: Iterable[ResidualBlock],
    copies: dict[int, keras.Variable] | None = None,
) -> keras.Model:
    """Copies a model without some of its residual blocks.

    Args:
        model: A functional or sequential model. It is not changed.
        blocks: The blocks, of one call of `residual_blocks(model)`.
        copies: Receives the copy of each variable that stays, by the `id` of the model's own.

    Returns:
        A new model of the other layers, of the class of the model.

    Raises:
        ConfigError: The blocks come from several calls, of which each reads the model again.
    """
    blocks = tuple(blocks)
    if len({id(block.graph) for block in blocks}) > 1:
        raise ConfigError("blocks: expected those of one call of residual_blocks, received blocks of several calls")
    passed = {id(block.call.node): block.passed for block in blocks}
    expand = {id(layer): layer for block in blocks for layer in block.opened}
    gone = {id(each) for block in blocks for call in block.calls for each in getattr(call.layer, "variables", ())}
    widths = model_widths(model, lambda variable: None if id(variable) in gone else tuple(variable.shape))
    return rebuild(
        model,
        copied_layer,
        without=passed,
        expand=expand.values(),
        keep_class=True,
        widths=widths,
        copies=copies,
    )


def _with_stacks_opened(model: keras.Model, keep_classes: bool) -> tuple[ModelGraph, set[type]]:
    """Returns the graph of a model in which layers that hold several blocks are opened, and the classes of such layers.

    Whether a class holds blocks is seen in its first layer. Layers within opened ones are looked at in turn.
    """
    stacks: set[type] = set()
    opens: set[type] = set()
    judged: set[type] = set()
    while True:
        graph = _opened(model, opens, set())
        first: dict[type, int] = {}
        for call in graph.calls:
            if is_opaque(call.layer, False) and type(call.layer) not in judged:
                first.setdefault(type(call.layer), id(call.layer))
        judged |= first.keys()
        ids = set(first.values())
        inner = _opened(model, opens, ids)
        holders = [layer for layer in inner.opened if id(layer.layer) in ids and _holds_blocks(layer, inner)]
        stacks |= {type(layer.layer) for layer in holders}
        new = set() if keep_classes else {type(layer.layer) for layer in holders if is_general(layer)}
        if not new:
            return graph, stacks
        opens |= new


def _opened(model: keras.Model, kinds: set[type], ids: set[int]) -> ModelGraph:
    """Returns the graph of a model in which layers of some classes, or with some `id`s, are opened."""
    return model_graph(model, lambda layer, within, node: type(layer) in kinds or id(layer) in ids)


def _holds_blocks(layer: OpenedLayer, graph: ModelGraph) -> bool:
    return any(call.name.startswith(f"{layer.name}/") and _is_block_layer(call) for call in graph.calls)


class _Terms:
    """Finds out of which terms the tensors of a model are summed, and what they depend on.

    Args:
        graph: The graph of the model.
        closed: Classes of layers that are no blocks, as they hold several.
    """

    def __init__(self, graph: ModelGraph, closed: set[type]) -> None:
        self._graph, self._closed = graph, closed
        self._producers = {id(tensor): call for call in graph.calls for tensor in call.outputs}
        self._sources: dict[int, int] = {}
        self._bits: dict[int, int] = {}
        self._nodes: dict[int, int] = {}
        for call in graph.calls:
            before = 0
            for tensor in call.inputs:
                before |= self._sources[id(tensor)]
            for tensor in call.outputs:
                self._bits[id(tensor)] = 1 << len(self._bits)
                self._sources[id(tensor)] = before | self._bits[id(tensor)]
            self._nodes[id(call.node)] = self._nodes.get(id(call.node), 0) + 1

    def block(self, call: Call) -> ResidualBlock | None:
        """Returns the block that ends in a call; None if there is none."""
        if call.node is None or self._nodes[id(call.node)] > 1:
            return None  # a model that is called twice: it could be left out of both calls only
        for passed in self._skips(call):
            gone = self._only_for(call, passed)
            if self._is_whole(call, passed, gone) and any(_multiplies(each) for each in gone):
                return ResidualBlock(call.name, call, passed, tuple(gone), self._graph)
        return None

    def _skips(self, call: Call) -> Iterable[tuple[int, ...]]:
        """Returns which inputs may take the place of the outputs of a call."""
        if not _is_sum(call):
            skip = _held_skip(call) if _is_block_layer(call) else None
            return () if skip is None or type(call.layer) in self._closed else (skip,)
        return ((position,) for position in range(len(call.inputs)) if self._adds_to(call, position))

    def _adds_to(self, call: Call, position: int) -> bool:
        """Returns whether a sum adds to one of its inputs what is computed from this input, or from a term of it."""
        kept = call.inputs[position]
        others = [tensor for tensor in call.inputs if tensor is not kept]
        once = len(others) == len(call.inputs) - 1
        return once and _alike(kept, call.outputs[0]) and all(self._depends(other, kept) for other in others)

    def _depends(self, tensor: keras.KerasTensor, on: keras.KerasTensor) -> bool:
        """Returns whether a tensor is computed from another one, or from a term of it where it is a sum."""
        pending = [on]
        while pending:
            term = pending.pop()
            if self._sources[id(tensor)] & self._bits[id(term)]:
                return True
            call = self._producers[id(term)]
            pending += call.inputs if isinstance(call.layer, ADDITIONS) else ()
        return False

    def _only_for(self, call: Call, passed: Sequence[int]) -> list[Call]:
        """Returns the calls that nothing needs once inputs of a call take the place of its outputs."""
        needed: set[int] = set()
        pending = [self._producers[id(tensor)] for tensor in self._graph.outputs]
        while pending:
            each = pending.pop()
            if id(each) not in needed:
                needed.add(id(each))
                inputs = [call.inputs[position] for position in passed] if each is call else each.inputs
                pending += [self._producers[id(tensor)] for tensor in inputs]
        return [each for each in self._graph.calls if id(each) not in needed or each is call]

    def _is_whole(self, call: Call, passed: Sequence[int], gone: Sequence[Call]) -> bool:
        """Returns whether what a sum adds goes completely, and no layer with weights that is called elsewhere."""
        ids = {id(each) for each in gone}
        kept = {id(call.inputs[position]) for position in passed}
        added = [tensor for tensor in call.inputs if id(tensor) not in kept] if _is_sum(call) else []
        weighted = {id(each.layer) for each in gone if getattr(each.layer, "weights", ())}
        return all(id(self._producers[id(tensor)]) in ids for tensor in added) and not any(
            id(each.layer) in weighted for each in self._graph.calls if id(each) not in ids
        )


def _is_sum(call: Call) -> bool:
    return isinstance(call.layer, ADDITIONS) and len(call.inputs) > 1


def _alike(one: keras.KerasTensor, other: keras.KerasTensor) -> bool:
    floating = keras.backend.is_float_dtype(one.dtype)
    return floating and tuple(one.shape) == tuple(other.shape) and one.dtype == other.dtype


def _multiplies(call: Call) -> bool:
    """Returns whether a call has multiply-adds: products by kernels, or of tensors."""
    return bool(prunable_kernels(call.layer)) or bool(traced_flops(call))


def _is_block_layer(call: Call) -> bool:
    return isinstance(call.layer, keras.Layer) and not has_rule(call.layer) and _held_skip(call) is not None


def _held_skip(call: Call) -> tuple[int, ...] | None:
    """Returns which inputs take the place of the outputs of a layer that holds a residual connection; None if none do.

    Such a layer adds to an input what it computes from it by products, and its first output is as large. Further
    outputs, such as a position bias, are inputs as they are. This is read from the graph that TensorFlow traces of the
    call; a layer that cannot be traced holds no connection.
    """
    if call.layer not in _SKIPS:
        try:
            graph = traced_graph(call)
            sources = graph.inputs[: len(call.inputs)]
            rest = [_position(tensor, sources) for tensor in graph.outputs[1:]]
            first = next(position for position in range(len(sources)) if _is_skip(call, graph, position))
            others = tuple(position for position in rest if position is not None)
            _SKIPS[call.layer] = (first, *others) if len(others) == len(rest) else None
        except Exception:  # a layer may do anything, and fail in any way
            _SKIPS[call.layer] = None
    return _SKIPS[call.layer]


def _position(tensor: tf.Tensor, sources: Sequence[tf.Tensor]) -> int | None:
    """Returns which of the inputs of a graph a tensor is; None if it is none of them."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return next((position for position, each in enumerate(sources) if each.name == tensor.name), None)


def _is_skip(call: Call, graph: Any, position: int) -> bool:
    source = graph.inputs[position]
    return _alike(call.inputs[position], call.outputs[0]) and any(
        _origin(kept).name == source.name and _computed_from(added, source)
        for operation in graph.get_operations()
        if operation.type in _SUMS
        for kept, added in (operation.inputs, tuple(operation.inputs)[::-1])
    )


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the tensor whose values a tensor has, perhaps in another shape."""
    while tensor.op.type in _SAME_VALUES:
        tensor = tensor.op.inputs[0]
    return tensor


def _computed_from(tensor: tf.Tensor, source: tf.Tensor) -> bool:
    """Returns whether a tensor of a graph depends by products, such as a convolution, on the values of another one."""
    pending, seen = [(tensor, False)], set()
    while pending:
        each, multiplied = pending.pop()
        if each.name == source.name and multiplied:
            return True
        multiplied = multiplied or each.op.type in PRODUCTS
        if (each.op.name, multiplied) not in seen and each.op.type not in _VALUES_UNREAD:
            seen.add((each.op.name, multiplied))
            pending += [(before, multiplied) for before in each.op.inputs]
    return False
