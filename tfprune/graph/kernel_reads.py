"""What kernels read: the inputs of a layer as rows of features, in the order of the kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers import ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SCALED = (ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D)
_BYTES = 64 * 2**20


@dataclass(frozen=True)
class KernelReads:
    """A layer's kernel as units that take inner products with rows of its inputs.

    A row holds all that a unit reads at one position: for a dense layer the features, for a convolution the positions
    of its window times its channels. A convolution with groups has such rows for each group, a depthwise one for each
    channel.

    Attributes:
        layer: A dense layer or convolution, built, of a kind that `of` knows.
        groups: How many groups.
    """

    layer: Any
    groups: int

    @classmethod
    def of(cls, layer: keras.Operation) -> "KernelReads | None":
        """How a layer's `kernel` reads; None for kinds of layers whose kernels read otherwise, or are scaled first."""
        if isinstance(layer, _SCALED):
            return None
        if isinstance(layer, keras.layers.Dense):
            return cls(layer, 1)
        if isinstance(layer, _CONVOLUTIONS):
            return cls(layer, layer.groups)
        if isinstance(layer, _DEPTHWISE):
            return cls(layer, layer.kernel.shape[-2])
        return None

    @property
    def features(self) -> int:
        """How many features a unit reads."""
        shape = self.layer.kernel.shape
        if isinstance(self.layer, _DEPTHWISE):
            return int(np.prod(shape[:-2]))
        return int(np.prod(shape[:-1]))

    def units(self, kernel: Any) -> np.ndarray:
        """A kernel as weights of units, `[groups, units, features]`; it may have lost inputs or outputs."""
        array = np.asarray(kernel)
        shape = self._factors(array.shape)
        return np.transpose(array.reshape(shape), (2, 3, 0, 1)).reshape(self.groups, shape[3], -1)

    def kernel(self, units: np.ndarray) -> np.ndarray:
        """The array of the kernel's shape from weights of units, `[groups, units, features]`."""
        shape = self._factors(self.layer.kernel.shape)
        array = np.asarray(units).reshape(self.groups, shape[3], shape[0], shape[1])
        return np.transpose(array, (2, 3, 0, 1)).reshape(self.layer.kernel.shape)

    def parts(self, values: tf.Tensor) -> Iterator[tf.Tensor]:
        """The `rows` of some examples after others, about 64 MB at a time."""
        count = self.examples_at_once(values)
        for start in range(0, len(values), count):
            yield self.rows(values[start : start + count])

    def examples_at_once(self, values: tf.Tensor) -> int:
        """Of how many examples the rows take about 64 MB."""
        return examples_at_once(values, int(np.prod(self.layer.kernel.shape[:-2], dtype=int)))

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """What the units read of the layer's inputs.

        Args:
            values: Inputs of the layer, `[examples, ...]`.

        Returns:
            Float64 `[groups, rows, features]`.
        """
        values = tf.cast(values, tf.float64)
        if isinstance(self.layer, keras.layers.Dense):
            return tf.reshape(values, [1, -1, values.shape[-1]])
        patches = self._patches(values)
        window = patches.shape[1]
        split = tf.reshape(patches, [-1, window, self.groups, patches.shape[2] // self.groups])
        return tf.reshape(tf.transpose(split, [2, 0, 1, 3]), [self.groups, -1, window * split.shape[3]])

    def _factors(self, shape: Any) -> tuple[int, int, int, int]:
        """Axes of a kernel: window, channels of a group, groups, units of a group."""
        window = int(np.prod(shape[:-2], dtype=int))
        if isinstance(self.layer, _DEPTHWISE):
            return window, 1, shape[-2], shape[-1]
        return window, shape[-2], self.groups, shape[-1] // self.groups

    def _patches(self, values: tf.Tensor) -> tf.Tensor:
        """What stands in the window at each position, `[positions, window, channels]`."""
        layer = self.layer
        if layer.data_format == "channels_first":
            values = tf.transpose(values, [0, *range(2, len(values.shape)), 1])
        sizes = values.shape[1:-1]
        window = layer.kernel.shape[:-2]
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
    """Of how many examples `[examples, ...]` so many float64 copies take about 64 MB; at least 1."""
    return max(1, _BYTES // (8 * copies * int(np.prod(values.shape[1:]))))


def _each(setting: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (setting,) * rank if isinstance(setting, int) else tuple(setting)


def _margin(padding: str, size: int, span: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis, as TensorFlow and Keras have them."""
    if padding == "causal":
        return span - 1, 0
    if padding == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return total // 2, total - total // 2
