"""Reweighting: kernels that read fewer channels are fitted to compensate for the removed ones.

Each kernel of the small model is fitted by least squares to the outputs of the whole model's kernel on data, in the
order of the graph.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfprune.dpp import least_squares
from tfprune.errors import ConfigError
from tfprune.graph import Call, ChannelGroups, Forward, KernelReads
from tfprune.graph.labels import kept_positions
from tfprune.graph.opened_graph import opened_graph

RIDGE = 1e-9
"""Fraction of the mean second moment of a kernel's inputs, so that directions rare in the data change little."""


def reweight(
    small: keras.Model, model: keras.Model, mask: np.ndarray, groups: ChannelGroups, batches: Iterable[Any]
) -> dict[str, str]:
    """Changes the kernels that read fewer channels so that their outputs change as little as possible.

    Layer by layer, in the order of the graph, W' = argmin |X' W' - X W|^2 + ridge |W' - W_S|^2, where X is what the
    whole model's kernel reads on the data, X' what the small one reads, whose earlier layers are fitted already, and
    W_S the cut kernel. Where no channel was cut before, X' is X_S, and this is v_S += A v_cut with
    A = argmin |X_S A - X_cut|^2 of the paper, for the kernel's inputs. On what it reads, no layer's squared error is
    larger than with the cut kernel. Batch norms, activations and merges between a cut channel and a kernel do not
    matter: it is fitted on what the kernel itself reads.

    Args:
        small: What `slim(model, mask, groups)` made; its kernels are changed.
        model: The whole model.
        mask: Bool `[channels]`, what was kept.
        groups: The whole model's channel groups.
        batches: Inputs of the data, in the structure that the models take; all of them are held in memory with what
            the layers make of them. Some hundreds to thousands of examples; more than kernels have inputs, where they
            are dense.

    Returns:
        By the names of layers that read fewer channels and could not be fitted, the reason.

    Raises:
        ConfigError: There is no data, or the outputs are not finite.

    Reference:
        Zhang et al., Statistical mechanical analysis of neural network pruning (UAI 2021), reweighting of nodes; layer
        by layer with both models: He et al., Channel Pruning for Accelerating Very Deep Neural Networks (ICCV 2017).
    """
    readers, skipped = _readers(mask, groups)
    if readers:
        _Fit(small, model, mask, groups).run(readers, batches)
    return skipped


def _readers(mask: np.ndarray, groups: ChannelGroups) -> tuple[set[str], dict[str, str]]:
    """Names of the layers to fit, and reasons for not fitting others."""
    calls = Counter(call.name for call in groups.calls)
    readers: set[str] = set()
    skipped: dict[str, str] = {}
    for name, slots in groups.slots.items():
        if all(kept_positions(slot.channels, mask).all() for slot in slots if slot.role == "in"):
            continue
        if KernelReads.from_layer(groups.layers[name]) is None:
            skipped[name] = f"no least squares for the kernels of a {type(groups.layers[name]).__name__}"
        elif calls[name] > 1:
            skipped[name] = f"it is called {calls[name]} times"
        else:
            readers.add(name)
    return readers, skipped


class _Fit:
    """Both models, run call by call."""

    def __init__(self, small: keras.Model, model: keras.Model, mask: np.ndarray, groups: ChannelGroups) -> None:
        self._mask, self._groups = mask, groups
        self._models = Forward(model, groups), Forward(small, opened_graph(small))

    def run(self, readers: set[str], batches: Iterable[Any]) -> None:
        pairs = [tuple(each.inputs(x) for each in self._models) for x in batches]
        if not pairs:
            raise ConfigError("reweight: expected at least one batch of examples, received none")
        whole, small = (each.calls for each in self._models)
        left = set(readers)
        for calls in zip(whole, small, strict=True):
            if calls[0].name in left:
                self._fit(*calls, pairs)
                left.remove(calls[0].name)
            if not left:
                return
            for pair in pairs:
                for forward, call, tensors in zip(self._models, calls, pair, strict=True):
                    forward.run(call, tensors)
                    forward.forget(call, tensors)

    def _fit(self, whole: Call, small: Call, pairs: list[Any]) -> None:
        reads, cut = KernelReads.from_layer(whole.layer), KernelReads.from_layer(small.layer)
        assert reads is not None, "readers are of such kinds"
        assert cut is not None, "the small model has layers of the same kinds"
        weights = reads.by_channel(self._of_kept_channels(whole, reads)).astype(np.float64)
        channels = cut.by_channel(cut.variable).astype(np.float64)
        among = np.zeros((cut.groups, cut.features, cut.features))
        across = np.zeros((cut.groups, cut.features, channels.shape[1]))
        for before, after in _rows(reads, cut, whole, small, pairs):
            missing = tf.matmul(before, weights, transpose_b=True) - tf.matmul(after, channels, transpose_b=True)
            among += tf.matmul(after, after, transpose_a=True).numpy()
            across += tf.matmul(after, missing, transpose_a=True).numpy()
        if not (np.isfinite(among).all() and np.isfinite(across).all()):
            raise ConfigError(
                f"reweight: expected finite inputs of {whole.name}, received NaN or infinity; fix the data"
            )
        for group, (moments, products) in enumerate(zip(among, across, strict=True)):
            ridge = RIDGE * np.trace(moments) / len(moments)
            channels[group] += least_squares(moments + ridge * np.eye(len(moments)), products).T
        cut.variable.assign(cut.as_kernel(channels))

    def _of_kept_channels(self, call: Call, reads: KernelReads) -> np.ndarray:
        """Returns the whole kernel, without the output channels that were cut."""
        kernel = np.asarray(reads.variable)
        for slot in self._groups.slots_of(call.name):
            if slot.weight == reads.kernel.attribute and slot.role == "out":
                kernel = np.take(kernel, slot.kept(self._mask), axis=slot.axis)
        return kernel


def _rows(
    reads: KernelReads, cut: KernelReads, whole: Call, small: Call, pairs: list[Any]
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields what both kernels read, a few examples at a time, `[groups, rows, features]` each."""
    for tensors, fewer in pairs:
        before, after = tensors[id(whole.inputs[0])], fewer[id(small.inputs[0])]
        count = reads.examples_at_once(before)
        for start in range(0, len(before), count):
            part = slice(start, start + count)
            yield reads.rows(before[part]), cut.rows(after[part])


class ReweightingWarning(UserWarning):
    """Some layers that read fewer channels than before keep their weights as they were.

    Args:
        reasons: Why, by the layer's name.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        named = "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
        super().__init__(f"not reweighted: {named}; train these a little, or do not prune the channels that they read")
        self.reasons = dict(reasons)
