"""What kernels read on data, call by call, so that the moments of one call's kernels are in memory at a time.

All examples go through a call before the next one runs. In memory are, of all examples, the tensors that calls still
take, as `reweight` holds them; and of the kernels of one call a matrix `[groups, features, features]` of float64 each,
which is 32 MB for 2,048 features and 512 MB for 8,192. A layer that is called several times holds its matrix from the
first call to the last.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import LinAlgError, cholesky
from scipy.linalg.lapack import dtrtri

from tfprune.criteria.data import CriterionData
from tfprune.errors import ConfigError
from tfprune.graph import Call, ChannelGroups, Forward, KernelReads
from tfprune.layers.kernels import prunable_kernels
from tfprune.reprs import short_repr

_Look = Callable[[keras.Layer, tf.Tensor], None]


@dataclass(frozen=True, eq=False)
class InputMoments:
    """Moments of the rows that a kernel reads, over all examples, positions and calls.

    Attributes:
        rows: Number of rows.
        means: Mean of each feature, float64 `[groups, features]`.
        squares: Mean square of each feature, likewise.
        products: Means of the products of all pairs, float64 `[groups, features, features]`; None if not asked for.
    """

    rows: int
    means: np.ndarray
    squares: np.ndarray
    products: np.ndarray | None

    __repr__ = short_repr

    @property
    def pairs(self) -> np.ndarray:
        """The products, where they were asked for."""
        assert self.products is not None, "asked for by products=True"
        return self.products


class KernelInputs:
    """What some kernels of a model read.

    Kernels within a layer that the graph does not open, such as the projections of multi-head attention, are seen when
    the layer calls the layers that hold them.

    Args:
        model: A functional or sequential model, built.
        weights: The kernels by name, such as those of `prunable_weights(model)`; several of one name, see
            `kernels_of_copy`, count together.
        groups: The model's channel groups, if they are known already.

    Attributes:
        reads: How they read, by name. A name is missing if `KernelReads` does not describe the kernel, as those of
            recurrent layers, transposed and separable convolutions.
    """

    def __init__(
        self,
        model: keras.Model,
        weights: Mapping[str, keras.Variable | Sequence[keras.Variable]],
        groups: ChannelGroups | None = None,
    ) -> None:
        self._model, self._forward = model, Forward(model, groups)
        names = {id(variable): name for name, each in weights.items() for variable in keras.tree.flatten(each)}
        self.reads: dict[str, KernelReads] = {}
        self._holders: dict[int, list[tuple[str, keras.Layer]]] = {}
        for call in self._forward.calls:
            held = [each for each in prunable_kernels(call.layer).values() if id(each.variable) in names]
            found = [(names[id(each.variable)], each.layer, KernelReads.from_layer(each.layer)) for each in held]
            self.reads = {name: reads for name, _, reads in found if reads is not None} | self.reads
            self._holders[id(call)] = [(name, layer) for name, layer, reads in found if reads is not None]

    def moments(self, data: CriterionData, *, products: bool = True) -> Iterator[tuple[str, InputMoments]]:
        """Yields the moments of one kernel after the other, in the order of their last calls.

        Whoever iterates may assign the kernel before going on: the call, and all that follow, run with what it is then.
        A layer that is called several times has all its calls before the last with the old kernel.

        Args:
            data: The data; labels are not used.
            products: Whether products of pairs are needed; without them, memory and time grow with the features only.

        Raises:
            ConfigError: The data cannot be used, what a kernel reads is not finite, or a layer traces the layers in it,
                or does not call them.
        """
        batches = [self._forward.inputs(x) for x in CriterionData.of(data, self._model).inputs()]
        left = Counter(name for each in self._holders.values() for name, _ in each)
        sums: dict[str, _Sums] = {}
        for call in self._forward.calls:
            holders = self._holders[id(call)]
            for name, _ in holders:
                sums.setdefault(name, _Sums(self.reads[name], products))
            self._look(call, holders, batches, sums)
            left.subtract(name for name, _ in holders)
            for name in dict.fromkeys(name for name, _ in holders):
                if not left[name]:
                    yield name, sums.pop(name).moments(name)
            if not any(left.values()):
                return
            for tensors in batches:
                self._forward.run(call, tensors)
                self._forward.forget(call, tensors)

    def _look(
        self,
        call: Call,
        holders: list[tuple[str, keras.Layer]],
        batches: list[Any],
        sums: Mapping[str, "_Sums"],
    ) -> None:
        """Adds what the kernels of a call read of all batches."""
        inner: dict[int, list[str]] = {}
        for name, layer in holders:
            if layer is call.layer:
                for tensors in batches:
                    sums[name].add(tensors[id(call.inputs[0])])
            else:
                inner.setdefault(id(layer), []).append(name)
        if not inner:
            return

        traced: list[str] = []

        def look(layer: keras.Layer, values: tf.Tensor) -> None:
            if not tf.executing_eagerly():
                traced.append(layer.name)  # Keras would put an error raised here into others
                return
            for name in inner[id(layer)]:
                sums[name].add(values)

        with _watched([layer for _, layer in holders if id(layer) in inner], look):
            for tensors in batches:
                self._forward.outputs(call, tensors, call.layer)
        if traced:
            raise ConfigError(
                f"data: expected {call.name} to run its layers one by one, but it traces {traced[0]}, whose inputs are "
                "not to be seen; ignore it"
            )


@contextmanager
def _watched(layers: list[keras.Layer], look: _Look) -> Iterator[None]:
    """Lets a function look at what layers are called with."""
    before = {id(layer): (layer, vars(layer).get("call")) for layer in layers}

    def watching(layer: keras.Layer) -> Callable[..., Any]:
        own = layer.call

        def call(inputs: Any, *args: Any, **named: Any) -> Any:
            look(layer, inputs)
            return own(inputs, *args, **named)

        return call

    for layer, _ in before.values():
        object.__setattr__(layer, "call", watching(layer))
    try:
        yield
    finally:
        for layer, own in before.values():
            if own is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", own)


class _Sums:
    """Sums over the rows that a kernel reads."""

    def __init__(self, reads: KernelReads, products: bool) -> None:
        self._reads, self._rows = reads, 0
        shape = (reads.groups, reads.features)
        self._values, self._squares = np.zeros(shape), np.zeros(shape)
        self._products = np.zeros((*shape, reads.features)) if products else None

    def add(self, values: tf.Tensor) -> None:
        """Adds what the kernel reads of the inputs of its layer."""
        for rows in self._reads.parts(values):
            self._rows += rows.shape[1]
            self._values += tf.reduce_sum(rows, axis=1).numpy()
            self._squares += tf.reduce_sum(tf.square(rows), axis=1).numpy()
            if self._products is not None:
                self._products += tf.matmul(rows, rows, transpose_a=True).numpy()

    def moments(self, name: str) -> InputMoments:
        """Returns the means; raises `ConfigError` if there are none, or they are not finite."""
        if not self._rows:
            raise ConfigError(f"data: expected examples that reach {name}, but its layer was not called; ignore it")
        if not np.isfinite(self._squares).all():
            raise ConfigError(
                f"data: expected finite values where {name} reads, received NaN or infinity; fix the data or the model"
            )
        products = None if self._products is None else self._products / self._rows
        return InputMoments(self._rows, self._values / self._rows, self._squares / self._rows, products)


def inverse_factor(moments: np.ndarray, damping: float) -> np.ndarray:
    """Factorizes the inverse of damped moments, so that all inverses of their lower right parts are at hand.

    Args:
        moments: Second moments C, float64 `[features, features]`.
        damping: Fraction of the mean of their diagonal that is added to it. If it is all 0, 1 is added.

    Returns:
        The upper triangular U, float64, with `U.T @ U` the inverse of H, that is C with what was added. Of each lower
        right part, `U[j:, j:].T @ U[j:, j:]` is the inverse of `H[j:, j:]`.

    Raises:
        ConfigError: The damping is too small for features that depend on one another.
    """
    ridge = damping * np.trace(moments) / len(moments) or 1.0
    turned = moments[::-1, ::-1].copy().T  # in the order of Fortran, so that it is overwritten
    turned.flat[:: len(turned) + 1] += ridge
    try:
        factor = cholesky(turned, lower=True, overwrite_a=True, check_finite=False)
        inverse, singular = dtrtri(factor, lower=True, overwrite_c=True)
        if singular:
            raise LinAlgError("singular")
        return np.asarray(inverse[::-1, ::-1])
    except LinAlgError as error:
        raise ConfigError(
            f"damping: {damping:g} is too small for second moments that are singular; give a larger one, such as 0.01, "
            "or more examples"
        ) from error
