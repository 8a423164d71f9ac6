"""The table of kernel layers: which attributes of which layer are kernels, and what can take the layer's place.

Everything in tfprune that has to know a kernel asks this table: which weights can be pruned one by one, how a layer is
masked or slimmed, run on other weights, folded, packed or initialized. A new kernel layer needs a rule
(`tfprune.register_rule`), which says how its channels hang together, and one row here:

    register_kernel_layer(KernelLayer(MyDense, masked=MaskedMyDense, reads="features"))

A class that derives from one in the table is treated like it, unless it has a row of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.layers.channel_masked import ChannelMaskedConv2D, ChannelMaskedDense, ChannelMaskedDepthwiseConv2D
from tfprune.layers.held_weights import HeldWeight, held_weights
from tfprune.layers.masked import (
    MaskedConv1D,
    MaskedConv2D,
    MaskedConv3D,
    MaskedDense,
    MaskedDepthwiseConv2D,
    MaskedWeights,
)
from tfprune.layers.masked_layer import unmasked
from tfprune.layers.psg import PSGConv2D, PSGDense, PSGDepthwiseConv2D
from tfprune.layers.subnet import Subnet, SubnetConv2D, SubnetDense, SubnetDepthwiseConv2D
from tfprune.reprs import described

Weights = Mapping[str, tf.Tensor]
ApplyKernels = Callable[[Any, tf.Tensor, Weights], tf.Tensor]
LayerVariant = Literal["masked", "psg", "channel_masked", "subnet"]
Reads = Literal["features", "window", "equation"]


@dataclass(frozen=True)
class Kernel:
    """One kernel of a layer.

    Attributes:
        attribute: Where the layer keeps it. Its name must contain `kernel`, as in all of Keras' layers.
        inputs: The axis over input channels, negative; None if it depends on the layer, as for an einsum.
        outputs: The axis over output channels, likewise; of a depthwise kernel the axis over the outputs of one
            channel (the depth multiplier). All other axes are positions of the window.
        depthwise: Whether each output reads one input channel only.
        prunable: Whether its weights can be pruned one by one.
    """

    attribute: str = "kernel"
    inputs: int | None = -2
    outputs: int | None = -1
    depthwise: bool = False
    prunable: bool = True


@dataclass(frozen=True)
class KernelLayer:
    """A row of the table: a layer class with kernels.

    Attributes:
        layer: The class. It may have a bias as its attribute `bias`, and an activation as `activation`.
        kernels: Its kernels.
        masked: The class that computes with `kernel * mask` (a `MaskedWeights`); None if there is none.
        psg: The class that does so and predicts the kernel's gradient (a `PSG`).
        channel_masked: The class that masks input and output channels.
        subnet: The class that trains scores which pick among frozen weights (a `Subnet`).
        reads: What the rows of its inputs are that the kernel is multiplied with (`graph.KernelReads`): `features` of
            the last axis, a `window`, by the layer's `strides`, `padding`, `dilation_rate` and `data_format`, or what
            the layer's `equation` sums over. None: something else.
        product: Computes the layer on given kernels, before bias and activation, from `(layer, inputs, kernels by
            attribute)`, channels last. It lets a search run the layer at other widths. None: it is never run so.
        folds_norm: Whether an export may fold a batch norm right behind the layer into its kernel and bias; the layer
            then has settings `use_bias` and `activation`, as Keras' layers have.

    Raises:
        ConfigError: A kernel's name does not contain `kernel`, or `reads` or `folds_norm` do not fit the kernels' axes.
    """

    layer: type[keras.Layer]
    kernels: tuple[Kernel, ...] = (Kernel(),)
    masked: type[MaskedWeights] | None = None
    psg: type[MaskedWeights] | None = None
    channel_masked: type[keras.Layer] | None = None
    subnet: type[Subnet] | None = None
    reads: Reads | None = None
    product: ApplyKernels | None = None
    folds_norm: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.layer, type) and issubclass(self.layer, keras.Layer)):
            raise ConfigError(f"KernelLayer: expected a class of layers, received {described(self.layer)}")
        if self.reads not in (None, *get_args(Reads)):
            raise ConfigError(
                f"{self.layer.__name__}: expected reads to be {', '.join(get_args(Reads))} or None, received "
                f"{self.reads!r}"
            )
        for kernel in self.kernels:
            if "kernel" not in kernel.attribute and kernel.prunable:
                raise ConfigError(
                    f"{self.layer.__name__}: expected kernels whose attribute contains 'kernel', as slimming tells "
                    f"weights apart by it, received {kernel.attribute!r}; rename it"
                )
        axes = [(kernel.inputs, kernel.outputs) for kernel in self.kernels]
        fitting = (None, None) if self.reads == "equation" else (-2, -1)
        if self.reads is not None and axes != [fitting]:
            raise ConfigError(
                f"{self.layer.__name__}: expected one kernel with the axes (in, out) {fitting} with "
                f"reads={self.reads!r}, received {axes}; leave reads out"
            )
        if self.folds_norm and (len(axes) != 1 or axes[0][1] is None):
            raise ConfigError(
                f"{self.layer.__name__}: expected one kernel with an axis of outputs where norms fold, received axes "
                f"(in, out) {axes}; leave folds_norm out"
            )


def register_kernel_layer(row: KernelLayer) -> None:
    """Adds a layer class to the table, or replaces its row.

    Args:
        row: The row.

    Example:
        >>> class Scaled(keras.layers.Dense):
        ...     pass
        >>> register_kernel_layer(KernelLayer(Scaled, reads="features"))
        >>> [kernel.attribute for kernel in kernel_layer(Scaled(3)).kernels]
        ['kernel']
    """
    if not isinstance(row, KernelLayer):
        raise ConfigError(f"expected a KernelLayer, received {described(row)}; wrap the class: KernelLayer(MyLayer)")
    _ROWS[row.layer] = row


def kernel_layer(layer: Any) -> KernelLayer | None:
    """Returns the row of a layer's class, or of the nearest class it derives from; None if there is none."""
    return next((_ROWS[kind] for kind in type(layer).__mro__ if kind in _ROWS), None)


def variants(variant: LayerVariant) -> dict[type, type]:
    """Returns the classes of a variant, by the class whose place they take."""
    found = {row.layer: getattr(row, variant) for row in _ROWS.values()}
    return {layer: kind for layer, kind in found.items() if kind is not None}


def stock_class(kind: type, *of: LayerVariant) -> type | None:
    """Returns the class whose place a class takes as one of some variants; None if it is no such class.

    Args:
        kind: A layer class.
        *of: The variants.
    """
    return next((layer for variant in of for layer, other in variants(variant).items() if other is kind), None)


def is_variant(layer: Any, variant: LayerVariant) -> bool:
    """Returns whether a layer is of a variant's class, or of one that derives from it."""
    return isinstance(layer, tuple(variants(variant).values()))


def prunable_kernels(layer: Any, *, embeddings: bool = False) -> dict[str, HeldWeight]:
    """Returns the kernels of a layer, and of layers in it, whose weights can be pruned one by one.

    Kernels are what the rows of the table say. Layers without a row, such as the cells of recurrent layers and layers
    of one's own, have those that they keep in attributes with `kernel` in their name.

    Args:
        layer: A layer or operation, built.
        embeddings: Whether tables of embeddings count, too.

    Returns:
        Kernels by path, such as `kernel`, `cell.recurrent_kernel`, `query_dense.kernel`.
    """
    return {each.path: each for each in _held(layer) if _is_kernel(each) or (embeddings and _is_embedding(each))}


def uncovered_weights(layer: Any) -> list[keras.Variable]:
    """Returns trained matrices of a layer, and of layers in it, that `prunable_kernels` does not know.

    Those are weights of at least two axes in layers that are neither Keras' own nor in the table. Embeddings, by their
    name, do not count.

    Args:
        layer: A layer or operation, built.
    """
    layer = unmasked(layer)
    if not isinstance(layer, keras.Layer):
        return []
    known = {id(each.variable) for each in _held(layer) if _is_kernel(each) or _is_no_kernel(each)}
    matrices = [each for each in layer.trainable_variables if sum(size > 1 for size in each.shape) > 1]
    return [each for each in matrices if id(each) not in known and _is_float(each)]


def _held(layer: Any) -> list[HeldWeight]:
    layer = unmasked(layer)
    return held_weights(layer) if isinstance(layer, keras.Layer) else []


def _is_kernel(held: HeldWeight) -> bool:
    row = kernel_layer(held.layer)
    if row is not None:
        return any(each.prunable and _same(held, each.attribute) for each in row.kernels)
    return "kernel" in held.attribute and len(held.variable.shape) > 1 and _is_float(held.variable)


def _is_embedding(held: HeldWeight) -> bool:
    return isinstance(held.layer, keras.layers.Embedding) and _same(held, "embeddings")


def _is_no_kernel(held: HeldWeight) -> bool:
    stock = type(held.layer).__module__.partition(".")[0] == "keras"
    return stock or kernel_layer(held.layer) is not None or "embedding" in held.attribute


def _same(held: HeldWeight, attribute: str) -> bool:
    """Returns whether a weight is an attribute; `kernel` may be a property of Keras' layers."""
    return held.attribute.lstrip("_") == attribute or getattr(held.layer, attribute, None) is held.variable


def _is_float(variable: keras.Variable) -> bool:
    return keras.backend.is_float_dtype(variable.dtype)


def named_kernels(layer: Any) -> list[Kernel]:
    """Returns the kernels of any layer; a layer without a row (such as a recurrent cell) may use the same names.

    Args:
        layer: A layer, built.

    Returns:
        Those of the layer's row; without one, kernels that the layer has under names that the table knows.
    """
    row = kernel_layer(layer)
    if row is not None:
        return [each for each in row.kernels if each.prunable]
    known: dict[str, Kernel] = {}
    for each in (kernel for other in _ROWS.values() for kernel in other.kernels if kernel.prunable):
        known.setdefault(each.attribute, each)
    return [each for name, each in known.items() if isinstance(getattr(layer, name, None), keras.Variable)]


def _matmul(layer: Any, inputs: tf.Tensor, kernels: Weights) -> tf.Tensor:
    return tf.matmul(tf.cast(inputs, tf.float32), kernels["kernel"])


def _conv2d(layer: Any, inputs: tf.Tensor, kernels: Weights) -> tf.Tensor:
    kernel = kernels["kernel"]
    values = tf.cast(inputs, kernel.dtype)
    return tf.nn.conv2d(values, kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)


def _depthwise_conv2d(layer: Any, inputs: tf.Tensor, kernels: Weights, attribute: str = "kernel") -> tf.Tensor:
    kernel = kernels[attribute]
    values, strides = tf.cast(inputs, kernel.dtype), (1, *layer.strides, 1)
    return tf.nn.depthwise_conv2d(values, kernel, strides, layer.padding.upper(), dilations=layer.dilation_rate)


def _separable_conv2d(layer: Any, inputs: tf.Tensor, kernels: Weights) -> tf.Tensor:
    between = _depthwise_conv2d(layer, inputs, kernels, "depthwise_kernel")
    return tf.nn.conv2d(between, kernels["pointwise_kernel"], 1, "VALID")


_DEPTHWISE = (Kernel(depthwise=True),)
_SEPARABLE = (Kernel("depthwise_kernel", depthwise=True), Kernel("pointwise_kernel"))
_TRANSPOSED = (Kernel(inputs=-1, outputs=-2),)
_ROWS: dict[type, KernelLayer] = {
    row.layer: row
    for row in (
        KernelLayer(
            keras.layers.Dense,
            masked=MaskedDense,
            psg=PSGDense,
            channel_masked=ChannelMaskedDense,
            subnet=SubnetDense,
            reads="features",
            product=_matmul,
            folds_norm=True,
        ),
        KernelLayer(keras.layers.EinsumDense, (Kernel(inputs=None, outputs=None),), reads="equation"),
        KernelLayer(keras.layers.Embedding, (Kernel("embeddings", inputs=None, prunable=False),)),
        KernelLayer(keras.layers.Conv1D, masked=MaskedConv1D, reads="window"),
        KernelLayer(
            keras.layers.Conv2D,
            masked=MaskedConv2D,
            psg=PSGConv2D,
            channel_masked=ChannelMaskedConv2D,
            subnet=SubnetConv2D,
            reads="window",
            product=_conv2d,
            folds_norm=True,
        ),
        KernelLayer(keras.layers.Conv3D, masked=MaskedConv3D, reads="window"),
        KernelLayer(keras.layers.Conv1DTranspose, _TRANSPOSED),
        KernelLayer(keras.layers.Conv2DTranspose, _TRANSPOSED),
        KernelLayer(keras.layers.Conv3DTranspose, _TRANSPOSED),
        KernelLayer(keras.layers.DepthwiseConv1D, _DEPTHWISE, reads="window"),
        KernelLayer(
            keras.layers.DepthwiseConv2D,
            _DEPTHWISE,
            masked=MaskedDepthwiseConv2D,
            psg=PSGDepthwiseConv2D,
            channel_masked=ChannelMaskedDepthwiseConv2D,
            subnet=SubnetDepthwiseConv2D,
            reads="window",
            product=_depthwise_conv2d,
            folds_norm=True,
        ),
        KernelLayer(keras.layers.SeparableConv1D, _SEPARABLE),
        KernelLayer(keras.layers.SeparableConv2D, _SEPARABLE, product=_separable_conv2d),
        KernelLayer(
            keras.layers.STFTSpectrogram, (Kernel("real_kernel", prunable=False), Kernel("imag_kernel", prunable=False))
        ),
    )
}
