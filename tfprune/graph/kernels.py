"""The weights that can be pruned one by one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.graph.calls import Call, model_calls, model_graph
from tfprune.layers import ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D

_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_WITH_KERNEL = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
Ignored = str | Any
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SCALED = (ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D)
_BYTES = 64 * 2**20
_ADDITIONS = (keras.layers.Add, keras.src.ops.numpy.Add)
"""Path or pattern of layers or weights, or a layer, or a nested model."""


def prunable_weights(model: keras.Model, *, ignore: Ignored | Iterable[Ignored] = ()) -> dict[str, keras.Variable]:
    """The kernels of a model: those of convolutions (transposed, depthwise and separable ones, too) and dense layers.

    Classes derived from Keras' count as these. Biases, normalisations, embeddings and recurrent layers have none, nor
    have layers within other layers, such as those of attention.

    Args:
        model: A functional or sequential model, built.
        ignore: What to leave out: paths of layers (`outer/inner` in nested models, `outer` for all in it) or of weights
            (`fc/kernel`), patterns of these such as `stage1_*`, or layers. One or several.

    Returns:
        Variables by name, `<layer path>/<weight>`, in the order of the graph; one that several layers or calls share
        stands there once.

    Raises:
        UnsupportedLayerError: The model has no graph.
        ConfigError: Nothing is called as `ignore` says, or nothing is left.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")])
        >>> {name: tuple(weight.shape) for name, weight in prunable_weights(model).items()}
        {'fc/kernel': (4, 3)}
    """
    single = isinstance(ignore, str) or not isinstance(ignore, Iterable)
    every: list[Any] = [ignore] if single else list(ignore)
    calls = model_calls(model)
    out: set[str] = set()
    for each in every:
        out |= _meant(calls, each)
    found: dict[str, keras.Variable] = {}
    seen: set[int] = set()
    for call in calls:
        for attribute, variable in _kernels(call.layer):
            name = f"{call.name}/{attribute}"
            if id(variable) not in seen and name not in out and call.name not in out:
                found[name] = variable
            seen.add(id(variable))
    if not found:
        raise ConfigError(
            f"expected kernels to prune in {model.name}, found none{' but those to ignore' if seen else ''}; "
            "give a model with dense layers or convolutions"
        )
    return found


def _meant(calls: tuple[Call, ...], ignored: Ignored) -> set[str]:
    """Names of the layers and weights that are meant."""
    if isinstance(ignored, str):
        names = {call.name for call in calls}
        names |= {f"{call.name}/{attribute}" for call in calls for attribute, _ in _kernels(call.layer)}
        found = {name for name in names if fnmatchcase(name, ignored) or name.startswith(f"{ignored}/")}
    else:
        within = {id(layer) for layer in ignored._flatten_layers()} if isinstance(ignored, keras.Layer) else set()
        found = {call.name for call in calls if id(call.layer) in within}
    if not found:
        shown = ignored if isinstance(ignored, str) else getattr(ignored, "name", ignored)
        raise ConfigError(f"ignore: expected layers of the model, received {shown!r}, which it lacks; check the name")
    return found


def _kernels(layer: keras.Operation) -> list[tuple[str, keras.Variable]]:
    """The prunable variables of a layer, by the attribute that holds them."""
    if isinstance(layer, _SEPARABLE):
        return [(name, getattr(layer, name)) for name in ("depthwise_kernel", "pointwise_kernel")]
    if not isinstance(layer, _WITH_KERNEL):
        return []
    if getattr(layer, "lora_enabled", False):
        raise ConfigError(
            f"expected plain kernels, received {layer.name} with a LoRA update; merge it into the kernel before pruning"
        )
    return [("kernel", layer.kernel)]


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


def main_path_order(model: keras.Model, *, ignore: Ignored | tuple[Ignored, ...] = ()) -> dict[str, keras.Variable]:
    """The weights of `prunable_weights`, the longest way first wherever ways meet.

    Depth first from the outputs, as in `prunable_weights`; but of the inputs of a layer, the one with the most kernels
    before it comes first, in whatever order they were written. So the projection of a shortcut follows the convolutions
    that it bridges, which is the order of the modules in PyTorch's residual networks.

    Args:
        model: A functional or sequential model, built.
        ignore: What to leave out, see `prunable_weights`.

    Returns:
        Variables by name.

    Raises:
        UnsupportedLayerError: The model has no graph.
        ConfigError: As `prunable_weights`.

    Example:
        >>> x = keras.Input((4,))
        >>> short = keras.layers.Dense(3, name="short")(x)
        >>> long = keras.layers.Dense(3, name="second")(keras.layers.Dense(3, name="first")(x))
        >>> list(main_path_order(keras.Model(x, keras.layers.Add()([short, long]))))
        ['first/kernel', 'second/kernel', 'short/kernel']
    """
    weights = prunable_weights(model, ignore=ignore)
    places = {name: place for place, name in enumerate(_layer_names(model))}
    return dict(sorted(weights.items(), key=lambda item: places[item[0].rpartition("/")[0]]))


def adds_branches(model: keras.Model) -> bool:
    """Whether a model adds tensors up, as residual networks do.

    Args:
        model: A functional or sequential model, built.

    Raises:
        UnsupportedLayerError: The model has no graph.
    """
    return any(isinstance(call.layer, _ADDITIONS) and len(call.inputs) > 1 for call in model_graph(model).calls)


def _layer_names(model: keras.Model) -> list[str]:
    """Names of the layers, as `Call` has them, each at its first call."""
    graph = model_graph(model)
    producer = {id(tensor): call for call in graph.calls for tensor in call.outputs}
    kernels: dict[int, int] = {}
    for call in graph.calls:
        so_far = max((kernels.get(id(tensor), 0) for tensor in call.inputs), default=0)
        kernels.update((id(tensor), so_far + hasattr(call.layer, "kernel")) for tensor in call.outputs)

    def before(call: Call) -> list[Call]:
        longest_first = sorted(call.inputs, key=lambda tensor: -kernels[id(tensor)])
        return [producer[id(tensor)] for tensor in longest_first]

    names: dict[str, None] = {}
    done: set[int] = set()
    pending = [(producer[id(tensor)], False) for tensor in reversed(graph.outputs)]
    while pending:
        call, inputs_done = pending.pop()
        if id(call) in done:
            continue
        if inputs_done:
            done.add(id(call))
            names.setdefault(call.name)
        else:
            pending.append((call, True))
            pending.extend((each, False) for each in reversed(before(call)))
    return list(names)
