"""What a kernel reads: rows of features, with which its output channels take inner products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from string import ascii_letters
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.kernels import Kernel, is_variant, kernel_layer

_BYTES = 64 * 2**20


@dataclass(frozen=True)
class KernelReads:
    """A layer's kernel as output channels that take inner products with rows of the layer's inputs.

    A row holds all that an output channel reads at one position: for a dense layer the features, for a convolution the
    positions of its window times its input channels, for an einsum all axes that it sums over. A convolution with
    groups has such rows for each group, a depthwise one for each input channel, an einsum for each position of the axes
    that its input, kernel and output share.

    Attributes:
        layer: A layer with one kernel whose row in the table of kernels says what it `reads`, built.
        kernel: The kernel's entry in the table.
        groups: Number of groups.
    """

    layer: Any
    kernel: Kernel
    groups: int

    @classmethod
    def from_layer(cls, layer: Any) -> "KernelReads | None":
        """Returns how a layer's kernel reads; None for layers whose kernels read otherwise, or are scaled first."""
        row = kernel_layer(layer)
        if row is None or row.reads is None or is_variant(layer, "channel_masked"):
            return None
        (kernel,) = row.kernels
        shape = getattr(layer, kernel.attribute).shape
        if row.reads != "equation":
            return cls(layer, kernel, shape[-2] if kernel.depthwise else getattr(layer, "groups", 1))
        terms = _Terms.of(layer.equation)
        return None if terms is None else cls(layer, kernel, terms.size(shape, terms.shared))

    @property
    def variable(self) -> keras.Variable:
        """The kernel itself."""
        return getattr(self.layer, self.kernel.attribute)

    @property
    def features(self) -> int:
        """Number of features that an output channel reads."""
        groups, channels = self._layout(self.variable.shape)[2]
        return int(np.prod(self.variable.shape)) // (groups * channels)

    def by_channel(self, kernel: Any) -> np.ndarray:
        """Returns an array of the kernel's shape by output channel; it may have lost inputs or outputs.

        Args:
            kernel: The kernel, or a mask of it.

        Returns:
            `[groups, channels of a group, features]`.
        """
        array = np.asarray(kernel)
        split, order, counts = self._layout(array.shape)
        return array.reshape(split).transpose(order).reshape(*counts, -1)

    def as_kernel(self, channels: np.ndarray) -> np.ndarray:
        """Returns an array of the kernel's shape from weights by output channel, the inverse of `by_channel`."""
        split, order, _ = self._layout(self.variable.shape)
        array = np.asarray(channels).reshape([split[axis] for axis in order])
        return array.transpose(np.argsort(order)).reshape(self.variable.shape)

    def parts(self, values: tf.Tensor) -> Iterator[tf.Tensor]:
        """Yields the `rows` of a batch, about 64 MB at a time."""
        count = self.examples_at_once(values)
        for start in range(0, len(values), count):
            yield self.rows(values[start : start + count])

    def examples_at_once(self, values: tf.Tensor) -> int:
        """Returns the number of examples whose rows take about 64 MB."""
        copies = int(np.prod(self.variable.shape[:-2], dtype=int)) if self._kind == "window" else 1
        return examples_at_once(values, copies)

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """Returns what the output channels read of the layer's inputs.

        Args:
            values: Inputs of the layer, `[examples, ...]`.

        Returns:
            Rows in the order of the kernel, float64 `[groups, rows, features]`.
        """
        values = tf.cast(values, tf.float64)
        if self._kind == "features":
            return tf.reshape(values, [1, -1, values.shape[-1]])
        if self._kind == "equation":
            terms = self._terms
            read = terms.spelled(values.shape.rank)
            order = (*terms.shared, *(each for each in read if each not in terms.kernel), *terms.summed)
            ordered = tf.transpose(values, [read.index(each) for each in order])
            return tf.reshape(ordered, [self.groups, -1, self.features])
        patches = self._patches(values)
        window = patches.shape[1]
        split = tf.reshape(patches, [-1, window, self.groups, patches.shape[2] // self.groups])
        return tf.reshape(tf.transpose(split, [2, 0, 1, 3]), [self.groups, -1, window * split.shape[3]])

    @property
    def _kind(self) -> str | None:
        row = kernel_layer(self.layer)
        return None if row is None else row.reads

    @property
    def _terms(self) -> "_Terms":
        terms = _Terms.of(self.layer.equation)
        assert terms is not None, "the layer was described by them"
        return terms

    def _layout(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]:
        """Returns into which axes a kernel splits, their order by channel, and the numbers of groups and of channels.

        By channel, axes of groups come first, those of the channels of a group next, those of features last.
        """
        if self._kind == "equation":
            terms = self._terms
            order = tuple(terms.kernel.index(each) for each in (*terms.shared, *terms.made, *terms.summed))
            return tuple(shape), order, (terms.size(shape, terms.shared), terms.size(shape, terms.made))
        window = int(np.prod(shape[:-2], dtype=int))
        read, channels = (1, shape[-1]) if self.kernel.depthwise else (shape[-2], shape[-1] // self.groups)
        return (window, read, self.groups, channels), (2, 3, 0, 1), (self.groups, channels)

    def _patches(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the values in the window at each position, `[positions, window, channels]`."""
        layer = self.layer
        if layer.data_format == "channels_first":
            values = tf.transpose(values, [0, *range(2, len(values.shape)), 1])
        sizes = values.shape[1:-1]
        window = self.variable.shape[:-2]
        strides, rates = _each(layer.strides, len(sizes)), _each(layer.dilation_rate, len(sizes))
        spans = [(width - 1) * rate + 1 for width, rate in zip(window, rates, strict=True)]
        margins = [_margin(layer.padding, *each) for each in zip(sizes, spans, strides, strict=True)]
        values = tf.pad(values, [(0, 0), *margins, (0, 0)])
        counts = [
            (size + sum(margin) - span) // stride + 1
            for size, margin, span, stride in zip(sizes, margins, spans, strides, strict=True)
        ]
        parts = []
        for offsets in product(*map(range, window)):
            cut = [slice(None)]
            for offset, rate, stride, count in zip(offsets, rates, strides, counts, strict=True):
                cut.append(slice(offset * rate, offset * rate + (count - 1) * stride + 1, stride))
            parts.append(tf.reshape(values[tuple(cut)], [-1, values.shape[-1]]))
        return tf.stack(parts, axis=1)


@dataclass(frozen=True)
class _Terms:
    """The letters of an einsum that projects: each letter of the kernel is summed over, made, or shared by all.

    Attributes:
        read: Those of the input, perhaps with an ellipsis.
        kernel: Those of the kernel, in its order, and by what they are:
        shared: In input and output, too.
        made: In the output only.
        summed: In the input only.
    """

    read: str
    kernel: str
    shared: tuple[str, ...]
    made: tuple[str, ...]
    summed: tuple[str, ...]

    @classmethod
    def of(cls, equation: str) -> "_Terms | None":
        """Returns the terms of an equation; None if it sums over other letters, or takes a diagonal."""
        source, _, written = equation.replace(" ", "").partition("->")
        read, _, kernel = source.partition(",")
        distinct = all(
            len(set(each)) == len(each) for each in (term.replace("...", "") for term in (read, kernel, written))
        )
        kept = "..." not in kernel and set(kernel) <= set(read + written) and set(read) <= set(kernel + written)
        if not (distinct and kept and set(written) <= set(read + kernel)):
            return None
        shared, made, summed = (
            tuple(each for each in kernel if (each in read, each in written) == places)
            for places in ((True, True), (False, True), (True, False))
        )
        return cls(read, kernel, shared, made, summed)

    def spelled(self, rank: int) -> str:
        """Returns the letters of an input of a rank, with the ellipsis written out."""
        free = [each for each in ascii_letters if each not in self.read + self.kernel]
        return self.read.replace("...", "".join(free[: rank - len(self.read) + 3]))

    def size(self, shape: Sequence[int], letters: Sequence[str]) -> int:
        """Returns the product of the sizes that some letters have in a kernel."""
        return int(np.prod([shape[self.kernel.index(each)] for each in letters], dtype=int))


def examples_at_once(values: tf.Tensor, copies: int = 1) -> int:
    """Returns the number of examples whose float64 copies take about 64 MB, at least 1.

    Args:
        values: `[examples, ...]`.
        copies: Number of copies of each example.
    """
    return max(1, _BYTES // (8 * copies * int(np.prod(values.shape[1:]))))


def _each(setting: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (setting,) * rank if isinstance(setting, int) else tuple(setting)


def _margin(padding: str, size: int, span: int, stride: int) -> tuple[int, int]:
    """Returns the zeros before and after one axis, as TensorFlow and Keras add them."""
    if padding == "causal":
        return span - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2
