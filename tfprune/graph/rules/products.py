"""Rules for products of tensors with one another or with constants: einsum, matmul, attention, fixed kernels.

An axis that two operands share and the result lacks is summed over; a channel that is removed adds nothing to the sum.
"""

from collections.abc import Sequence
from functools import partial
from string import ascii_letters
from typing import Any

import keras
import numpy as np

from tfprune.graph.calls import Call
from tfprune.graph.labels import Labels, Vector
from tfprune.graph.rules.elementwise import sliced, united
from tfprune.graph.rules.lookup import (
    channel_axis,
    extent,
    keep_order,
    named_arguments,
    only,
    pin_all_but,
    positions,
    rule,
)
from tfprune.keras_private import nn_operations as nn
from tfprune.keras_private import numpy_operations as numpy

SUMMING = (
    *(numpy.Einsum, numpy.Matmul, numpy.Dot, numpy.Inner, numpy.Tensordot),
    *(nn.DotProductAttention, nn.Normalize, nn.Conv),
)
"""Operations that may sum over channels; their edits name the axes along which they do."""

Terms = list[str]
"""The letter of each axis of some tensors."""


@rule(numpy.Einsum, several=True, all_axes=True)
def _einsum(labels: Labels, call: Call) -> None:
    operands = list(named_arguments(call)["operands"])
    terms, written = _equation(call.layer.subscripts, [len(np.shape(each)) for each in operands])
    _product(labels, call, operands, terms, written)


@rule(numpy.Matmul, several=True, all_axes=True)
def _matmul(labels: Labels, call: Call) -> None:
    first, second = operands = _two(call)
    ranks = [len(np.shape(each)) for each in operands]
    outer = ascii_letters[3 : max(1, *ranks) + 1]
    left = outer[len(outer) + 2 - ranks[0] :] + "ab" if ranks[0] > 1 else "b"
    right = outer[len(outer) + 2 - ranks[1] :] + "bc" if ranks[1] > 1 else "b"
    written = outer + ("a" if ranks[0] > 1 else "") + ("c" if ranks[1] > 1 else "")
    _product(labels, call, [first, second], [left, right], written)


@rule(numpy.Dot, several=True, all_axes=True)
def _dot(labels: Labels, call: Call) -> None:
    operands = _two(call)
    ranks = [len(np.shape(each)) for each in operands]
    summed = max(ranks[1] - 2, 0)
    _contraction(labels, call, operands, [ranks[0] - 1], [summed] if min(ranks) else [])


@rule(numpy.Inner, several=True, all_axes=True)
def _inner(labels: Labels, call: Call) -> None:
    operands = _two(call)
    _contraction(labels, call, operands, [-1], [-1])


@rule(numpy.Tensordot, several=True, all_axes=True)
def _tensordot(labels: Labels, call: Call) -> None:
    operands, axes = _two(call), call.layer.axes
    if isinstance(axes, int):
        rank = len(np.shape(operands[0]))
        axes = (list(range(rank - axes, rank)), list(range(axes)))
    first, second = (np.ravel(each).tolist() for each in axes)
    _contraction(labels, call, operands, first, second)


def _two(call: Call) -> list[Any]:
    given = named_arguments(call)
    return [given["x1"], given["x2"]]


def _contraction(labels: Labels, call: Call, operands: list[Any], first: Sequence[int], second: Sequence[int]) -> None:
    """Follows a product whose listed axes are summed over, pair by pair, and whose result has all others in order."""
    ranks = [len(np.shape(each)) for each in operands]
    if not all(ranks):
        labels.leave_alone(call, "no rule for products with single values")
        return
    left = list(ascii_letters[: ranks[0]])
    right = list(ascii_letters[ranks[0] : sum(ranks)])
    for one, other in zip(first, second, strict=True):
        right[other] = left[one]
    written = "".join(letter for letter in left + right if (letter in left) != (letter in right))
    _product(labels, call, operands, ["".join(left), "".join(right)], written)


def _equation(subscripts: str, ranks: list[int]) -> tuple[Terms, str]:
    """Returns the letters of the operands and of the result, with ellipses written out."""
    read, arrow, written = subscripts.replace(" ", "").partition("->")
    terms = read.split(",")
    free = [letter for letter in ascii_letters if letter not in read + written]
    spared = [rank - len(term) + 3 if "..." in term else 0 for rank, term in zip(ranks, terms, strict=True)]
    dots = "".join(free[: max(spared)])
    terms = [term.replace("...", dots[len(dots) - number :]) for term, number in zip(terms, spared, strict=True)]
    if not arrow:
        named = read.replace(",", "").replace(".", "")
        written = "..." + "".join(sorted(letter for letter in set(named) if named.count(letter) == 1))
    return terms, written.replace("...", dots)


def _product(labels: Labels, call: Call, operands: list[Any], terms: Terms, written: str) -> None:
    """Unites the labels of each letter, and slices constants along letters whose positions can go."""
    symbolic = [isinstance(each, keras.KerasTensor) for each in operands]
    if not _simple(operands, symbolic, terms, written):
        labels.leave_alone(call, "no rule for products that move the batch axis or take a diagonal")
        return
    sizes: dict[str, int | None] = {}
    for operand, term in zip(operands, terms, strict=True):
        for letter, size in zip(term, np.shape(operand), strict=True):
            sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
    vectors: dict[str, Vector] = {}
    for letter in dict.fromkeys("".join(terms)):
        summed = letter not in written
        vectors[letter] = _along_letter(labels, call, operands, terms, letter, sizes[letter], summed)
    labels.pin(vectors[written[0]], reason="they are not counted along the first axis of a product")
    vectors[written[0]] = None
    _note_operands(labels, call, symbolic, terms, written, vectors)
    labels.put(call.outputs[0], [vectors[letter] for letter in written[1:]])
    every = [letter for letter in vectors if letter != written[0]]
    axes = tuple(vectors[letter] for letter in every)
    labels.cost(call, extent(axes, (sizes[letter] for letter in every)), *axes)


def _simple(operands: list[Any], symbolic: list[bool], terms: Terms, written: str) -> bool:
    """Returns whether no letter is repeated, and unknown examples are the first axis of all tensors and the result."""
    distinct = all(len(set(term)) == len(term) for term in [*terms, written])
    if not written or not distinct or set(written) - set("".join(terms)):
        return False
    batch = written[0]
    if not any(known and None in np.shape(operand)[:1] for operand, known in zip(operands, symbolic, strict=True)):
        return True
    return all(
        term[:1] == batch if known else batch not in term or np.shape(operand)[term.index(batch)] == 1
        for operand, known, term in zip(operands, symbolic, terms, strict=True)
    )


def _along_letter(
    labels: Labels, call: Call, operands: list[Any], terms: Terms, letter: str, size: int | None, summed: bool
) -> Vector:
    """Returns the united labels of all operands along a letter."""
    full: list[Vector] = []
    holders = 0
    for operand, term in zip(operands, terms, strict=True):
        if letter not in term:
            continue
        place = term.index(letter)
        vector = labels.axes(operand)[place] if isinstance(operand, keras.KerasTensor) else None
        if np.shape(operand)[place] == 1 and size != 1:
            labels.pin(vector, reason="it repeats them along the axis of another input")
            continue
        holders += 1
        if isinstance(operand, keras.KerasTensor):
            full.append(vector)
    vector = united(labels, full)
    if summed and (holders == 1 or all(term[:1] == letter for term in terms if letter in term)):
        labels.pin(vector, reason="it sums over them")
    return vector


def _note_operands(
    labels: Labels, call: Call, symbolic: list[bool], terms: Terms, written: str, vectors: dict[str, Vector]
) -> None:
    """Notes which axes of constants are sliced, and over which axes of tensors channels are summed."""
    einsum = isinstance(call.layer, numpy.Einsum)
    for part in [range(len(terms))] if einsum else [range(1), range(1, 2)]:
        cuts = [
            (index - part[0], axis, symbolic[index], vectors[letter])
            for index in part
            for axis, letter in enumerate(terms[index])
            if vectors[letter] is not None and not (symbolic[index] and letter in written)
        ]
        if cuts:
            places = [cut[:3] for cut in cuts]
            key = "operands" if einsum else ("x1", "x2")[part[0]]
            labels.edit(call, key, *(cut[3] for cut in cuts), change=partial(_cut, places), argument=True)


def _cut(places: list[tuple[int, int, bool]], old: Any, kept: list[np.ndarray]) -> Any:
    """Returns the operands of a product with smaller constants."""
    operands = list(old) if isinstance(old, tuple) else [old]
    for (index, axis, symbolic), mask in zip(places, kept, strict=True):
        if not symbolic and np.shape(operands[index])[axis] != 1:
            operands[index] = sliced(operands[index], axis, mask)
    return tuple(operands) if isinstance(old, tuple) else operands[0]


@rule(nn.DotProductAttention, several=True)
def _dot_product_attention(labels: Labels, call: Call) -> None:
    """Follows heads and the channels within them; positions attend to each other.

    Keras takes the width of the query for that of the output, so the channels of the values go with those of the
    queries. Without a given scale, it divides by the root of the number of channels of a head: the smaller model is
    given the scale of the whole one.
    """
    given = named_arguments(call)
    query, key, value = (given[name] for name in ("query", "key", "value"))
    others = [given[name] for name in ("bias", "mask") if given.get(name) is not None]
    if not all(isinstance(each, keras.KerasTensor) for each in (query, key, value)) or not _alike(query, key, value):
        labels.leave_alone(
            call, "no rule for constants, or for other heads or widths in keys or values than in queries"
        )
        return
    parts = [labels.of(each) for each in (query, key, value)]
    labels.pin(*(part[0] for part in parts), reason="positions attend to each other")
    heads = united(labels, [part[1] for part in parts])
    inner = united(labels, [part[2] for part in parts])
    for other in others:
        if isinstance(other, keras.KerasTensor):
            labels.pin(*labels.of(other), reason="they are positions of a mask or bias")
        if np.shape(other)[1] != 1:
            labels.pin(heads, reason="a mask or bias differs between heads")
    keep_order(labels, call, inner)
    scale = query.shape[3] ** -0.5
    labels.edit(call, "scale", inner, change=lambda old, kept: scale if old is None else old, argument=True)
    length, context = positions(query.shape[1:2]), positions(key.shape[1:2])
    labels.cost(call, 2 * length * context * extent((heads, inner), query.shape[2:]), heads, inner)
    labels.put(call.outputs[0], (None, heads, inner))


def _alike(*tensors: keras.KerasTensor) -> bool:
    return len({tensor.shape[2:] for tensor in tensors}) == 1


@rule(nn.Conv)
def _fixed_conv(labels: Labels, call: Call) -> None:
    """Slices a constant kernel `[..., channels read, channels made]`; what it makes stays."""
    kernel, output = named_arguments(call)["kernel"], call.outputs[0]
    axis = channel_axis(call.layer, call.inputs[0])
    *window, width, made = np.shape(kernel)
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    if read is not None:
        labels.edit(call, "kernel", read, change=lambda old, kept: sliced(old, -2, kept[0]), argument=True)
    places = positions(size for index, size in enumerate(output.shape[1:]) if index != axis)
    labels.cost(call, places * positions(window) * made * (1 if read is not None else width), read)
    labels.put(output, only(axis, None, output))


@rule(nn.DepthwiseConv)
def _fixed_depthwise(labels: Labels, call: Call) -> None:
    """Slices a constant kernel `[..., channels, multiplier]`, such as that of a blur."""
    kernel = named_arguments(call)["kernel"]
    axis = channel_axis(call.layer, call.inputs[0])
    read = pin_all_but(labels, labels.of(call.inputs[0]), axis)
    *window, width, multiplier = np.shape(kernel)
    if read is not None:
        labels.edit(call, "kernel", read, change=lambda old, kept: sliced(old, -2, kept[0]), argument=True)
    made = None if read is None else np.repeat(read, multiplier)
    output = call.outputs[0]
    places = positions(size for index, size in enumerate(output.shape[1:]) if index != axis)
    labels.cost(call, places * positions(window) * multiplier * (1 if read is not None else width), read)
    labels.put(output, only(axis, made, output))
