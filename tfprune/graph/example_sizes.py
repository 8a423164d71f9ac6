"""Numbers of examples in what opened layers compute: an opening for some examples becomes one for any number.

A layer whose code needs to know its number of examples is read with a fixed one, so this is in the settings of its
operations, such as the sizes of a reshape, and in its constants, such as causal masks. Reading it again with another
number shows where: all else must be the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import keras
import numpy as np

from tfprune.graph.opening import Opening
from tfprune.keras_private import numpy_operations as numpy
from tfprune.keras_private import operation_settings
from tfprune.reprs import short_repr

_BROADCASTING = (
    *(numpy.Add, numpy.Subtract, numpy.Multiply, numpy.Divide, numpy.TrueDivide, numpy.Maximum, numpy.Minimum),
    *(numpy.Where, numpy.LogicalAnd, numpy.LogicalOr),
)


@dataclass(frozen=True)
class ExampleSizes:
    """Where the number of examples is in one call.

    Attributes:
        axis: The axis of a reshape's target whose size depends on it; None if none does.
        given: The axis of what is reshaped whose size depends on it; None if none does.
        constants: Positions, among all arguments of the call, of constants that are the same for each example.
    """

    axis: int | None = None
    given: int | None = None
    constants: tuple[int, ...] = ()

    __repr__ = short_repr

    def arguments(self, values: Any) -> Any:
        """Returns arguments of a call with constants for a single example, which are repeated for all."""
        flat = keras.tree.flatten(values)
        cut = [each[:1] if index in self.constants else each for index, each in enumerate(flat)]
        return keras.tree.pack_sequence_as(values, cut)

    def target(self, sizes: Any, shape: Any, examples: int) -> tuple[int, ...]:
        """Returns the target of a reshape for any number of examples.

        Args:
            sizes: The target for a fixed number, of which one may be -1.
            shape: The shape of what is reshaped.
            examples: The size of its axis `given` for the fixed number.
        """
        new = [1 if size is None else size for size in sizes]
        if -1 in new:
            whole = prod(examples if axis == self.given else size for axis, size in enumerate(shape))
            new[new.index(-1)] = whole // -prod(new)
        return tuple(-1 if axis == self.axis else size for axis, size in enumerate(new))


def open_sizes(opening: Opening) -> dict[int, ExampleSizes] | None:
    """Returns where an open size is in the calls of an opening, as `example_sizes` does."""
    found: dict[int, ExampleSizes] = {}
    for node in opening.nodes:
        if isinstance(node.operation, keras.Layer):
            continue
        settings = keras.tree.flatten(list(operation_settings(node.operation).values()))
        if not any(each is None for each in settings):
            continue
        if isinstance(node.operation, numpy.Reshape):
            axes = [axis for axis, size in enumerate(node.operation.newshape) if size is None]
            given = [axis for axis, size in enumerate(node.input_tensors[0].shape) if size is None]
            if len(axes) > 1 or len(given) != 1:
                return None
            found[id(node)] = ExampleSizes(axes[0], given[0])
        elif isinstance(node.operation, (numpy.BroadcastTo, numpy.Tile)):
            return None
    return found


def example_sizes(one: Opening, other: Opening) -> dict[int, ExampleSizes] | None:
    """Compares two openings of one call of a layer, for different numbers of examples.

    Args:
        one: The first.
        other: The second.

    Returns:
        Where the number of examples is, by the `id` of the records of calls in the first; None if it is where it cannot
        be replaced.
    """
    if len(one.nodes) != len(other.nodes) or any(
        type(first.operation) is not type(second.operation)
        for first, second in zip(one.nodes, other.nodes, strict=True)
    ):
        return None
    found: dict[int, ExampleSizes] = {}
    for first, second in zip(one.nodes, other.nodes, strict=True):
        constants = _constants(first, second)
        axes = _axes(first.operation, second.operation)
        if constants is None or axes is None or len(axes) > 1:
            return None
        given = _given(first, second) if axes else []
        if axes and -1 in first.operation.newshape and len(given) != 1:
            return None
        if constants or axes:
            found[id(first)] = ExampleSizes(axes[0] if axes else None, given[0] if given else None, constants)
    return found


def _axes(first: Any, second: Any) -> list[int] | None:
    """Returns the axes of a reshape's target that differ; None if other settings of operations do."""
    if isinstance(first, keras.Layer):
        return [] if first is second else None
    if isinstance(first, numpy.Reshape):
        pairs = list(zip(first.newshape, second.newshape, strict=True))
        return [axis for axis, (size, another) in enumerate(pairs) if size != another]
    settings: list[Mapping[str, Any]] = [operation_settings(each) for each in (first, second)]
    alike = all(_alike(value, settings[1][key]) for key, value in settings[0].items() if key != "name")
    return [] if alike else None


def _given(first: Any, second: Any) -> list[int]:
    """Returns the axes of what is reshaped whose sizes differ."""
    shapes = [node.input_tensors[0].shape for node in (first, second)]
    return [axis for axis, (size, other) in enumerate(zip(*shapes, strict=True)) if size != other]


def _constants(first: Any, second: Any) -> tuple[int, ...] | None:
    """Returns the positions of arguments that differ by their number of equal rows; None if others differ."""
    flat = [keras.tree.flatten((each.arguments.args, each.arguments.kwargs)) for each in (first, second)]
    if len(flat[0]) != len(flat[1]):
        return None
    found = []
    for position, (one, other) in enumerate(zip(*flat, strict=True)):
        if isinstance(one, keras.KerasTensor) or _alike(one, other):
            continue
        if not isinstance(first.operation, _BROADCASTING):
            return None
        rows = [np.asarray(each) for each in (one, other)]
        same = all(each.ndim and len(each) and (each == each[:1]).all() for each in rows)
        if not same or not np.array_equal(rows[0][:1], rows[1][:1]):
            return None
        found.append(position)
    return tuple(found)


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if callable(one) or callable(other) or isinstance(one, str):
        return bool(one == other)
    try:
        return np.array_equal(np.asarray(one), np.asarray(other))
    except (TypeError, ValueError):
        return bool(one == other)
