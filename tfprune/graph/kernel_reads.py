"""What a kernel reads: rows of features, with which its output channels take inner products."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
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
    positions of its window times its input channels. A convolution with groups has such rows for each group, a
    depthwise one for each input channel.

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
        groups = getattr(layer, kernel.attribute).shape[-2] if kernel.depthwise else getattr(layer, "groups", 1)
        return cls(layer, kernel, groups)

    @property
    def variable(self) -> keras.Variable:
        """The kernel itself."""
        return getattr(self.layer, self.kernel.attribute)

    @property
    def features(self) -> int:
        """Number of features that an output channel reads."""
        shape = self.variable.shape
        return int(np.prod(shape[:-2] if self.kernel.depthwise else shape[:-1]))

    def by_channel(self, kernel: Any) -> np.ndarray:
        """Returns an array of the kernel's shape by output channel; it may have lost inputs or outputs.

        Args:
            kernel: The kernel, or a mask of it.

        Returns:
            `[groups, channels of a group, features]`.
        """
        array = np.asarray(kernel)
        shape = self._factors(array.shape)
        return np.transpose(array.reshape(shape), (2, 3, 0, 1)).reshape(self.groups, shape[3], -1)

    def as_kernel(self, channels: np.ndarray) -> np.ndarray:
        """Returns an array of the kernel's shape from weights by output channel, the inverse of `by_channel`."""
        shape = self._factors(self.variable.shape)
        array = np.asarray(channels).reshape(self.groups, shape[3], shape[0], shape[1])
        return np.transpose(array, (2, 3, 0, 1)).reshape(self.variable.shape)

    def parts(self, values: tf.Tensor) -> Iterator[tf.Tensor]:
        """Yields the `rows` of a batch, about 64 MB at a time."""
        count = self.examples_at_once(values)
        for start in range(0, len(values), count):
            yield self.rows(values[start : start + count])

    def examples_at_once(self, values: tf.Tensor) -> int:
        """Returns the number of examples whose rows take about 64 MB."""
        return examples_at_once(values, int(np.prod(self.variable.shape[:-2], dtype=int)))

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """Returns what the output channels read of the layer's inputs.

        Args:
            values: Inputs of the layer, `[examples, ...]`.

        Returns:
            Rows in the order of the kernel, float64 `[groups, rows, features]`.
        """
        values = tf.cast(values, tf.float64)
        if self._of_features:
            return tf.reshape(values, [1, -1, values.shape[-1]])
        patches = self._patches(values)
        window = patches.shape[1]
        split = tf.reshape(patches, [-1, window, self.groups, patches.shape[2] // self.groups])
        return tf.reshape(tf.transpose(split, [2, 0, 1, 3]), [self.groups, -1, window * split.shape[3]])

    @property
    def _of_features(self) -> bool:
        row = kernel_layer(self.layer)
        return row is not None and row.reads == "features"

    def _factors(self, shape: Any) -> tuple[int, int, int, int]:
        """Returns the axes of a kernel: window, inputs of a group, groups, outputs of a group."""
        window = int(np.prod(shape[:-2], dtype=int))
        if self.kernel.depthwise:
            return window, 1, shape[-2], shape[-1]
        return window, shape[-2], self.groups, shape[-1] // self.groups

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
