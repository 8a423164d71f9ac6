"""Fast evaluation of sub-networks of a model: only the kept channels, only what follows a change."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, optional, whole_number
from tfprune.errors import check_choice
from tfprune.graph import (
    PINNED,
    Call,
    ChannelGroups,
    Segment,
    SlimWeights,
    configuration,
    execute,
    gate_sites,
    segments,
)
from tfprune.reprs import short_repr

Precision = Literal["float32", "bfloat16"]
Activations = list[tf.Tensor]
"""Inputs of all segments for one batch, and the logits last."""

_LARGEST_ALIGNMENT = 1024  # channels
_INDIVIDUAL = {"name", "filters", "units", "dtype"}  # settings in which layers that work alike may differ


@dataclass(frozen=True)
class Scored:
    """Result of a scoring pass over one batch.

    Attributes:
        scores: Importance of every prunable channel `[channels]`, float32.
        activations: Inputs of the segments in this sub-network, and the logits.
    """

    scores: np.ndarray
    activations: Activations

    __repr__ = short_repr


class SubNetworks:
    """Evaluates sub-networks of a model, batch norm with the statistics of the batch, as EKG's search does.

    Three things make a candidate cheap, and none changes its result beyond rounding: masked channels are cut away
    instead of multiplied by zero; segments before the first changed channel are not run again; and blocks of the same
    structure share one traced function, whatever their widths.

    Args:
        model: A functional model of plain layers, one input and one output. Its weights are read once, here.
        groups: Its channel groups.
        dtype: `float32` or `bfloat16`, for convolutions and what lies between them. Logits are always float32.
        alignment: Pad channels to a multiple of this. Default: that of the processor. Evaluators can continue from each
            other's activations if they share it.
    """

    def __init__(
        self, model: keras.Model, groups: ChannelGroups, dtype: str = "float32", alignment: int | None = None
    ) -> None:
        self.groups = instance("groups", groups, ChannelGroups, "the channel groups of a model")
        check_choice("dtype", dtype, Precision)
        alignment = optional(whole_number, "alignment", alignment, at_most=_LARGEST_ALIGNMENT)
        self.segments = segments(groups.calls)
        self._dtype = tf.as_dtype(dtype)
        self._weights = SlimWeights(model, groups, dtype, alignment)
        self._functions: dict[object, Callable[..., tf.Tensor]] = {}
        self._runs = [self._function(segment) for segment in self.segments]
        self._sites = gate_sites(groups)
        self._score = tf.function(self._score_batch, input_signature=self._score_signature())
        self._first = [self._first_segment(group.channels) for group in groups]

    def first_segment(self, group: int) -> int:
        """Returns the index of the first segment whose result depends on a channel group."""
        return self._first[group]

    def first_difference(self, mask: np.ndarray, other: np.ndarray) -> int:
        """Returns the first segment that differs between two sub-networks; the number of segments if none does."""
        differing = np.unique(self.groups.owner[mask != other])
        return min((self._first[group] for group in differing), default=len(self.segments))

    def forward(self, mask: np.ndarray, values: tf.Tensor, start: int = 0) -> Iterator[tf.Tensor]:
        """Runs a sub-network from a segment on.

        Args:
            mask: Bool `[channels]`, the channels kept.
            values: Input of segment `start`: the model's, such as images, or cached activations.
            start: Index of the first segment to run.

        Yields:
            The output of each segment; the last one is the logits `[batch, classes]`, float32.
        """
        values = tf.cast(values, self._format(self.segments[start].input))
        for segment, run in zip(self.segments[start:], self._runs[start:], strict=True):
            values = run(values, *self._segment_weights(segment, mask))
            yield values

    def logits(self, mask: np.ndarray, values: tf.Tensor, start: int = 0) -> np.ndarray:
        """Returns the logits `[batch, classes]` of `forward` only."""
        *_, last = self.forward(mask, values, start)
        return np.asarray(last)

    def activations(self, mask: np.ndarray, images: tf.Tensor) -> Activations:
        """Returns the inputs of all segments in a sub-network, and the logits."""
        return [tf.cast(images, self._format(self.segments[0].input)), *self.forward(mask, images)]

    def score(
        self, mask: np.ndarray, images: tf.Tensor, labels: tf.Tensor, knowledge: tf.Tensor, scale: float
    ) -> Scored:
        """Computes the first-order importance of every channel on one batch.

        The score of a channel is `|sum over batch and positions of dL/dy * y|` at each gate of its group, summed over
        the gates, with `L` the search objective times `scale`.

        Args:
            mask: Bool `[channels]`, the channels kept; the others score 0.
            images: `[batch, height, width, channels]`, normalized.
            labels: `[batch]`, integers.
            knowledge: Logits of the ensemble `[batch, classes]`, float32.
            scale: Factor of the summed objective.

        Returns:
            The scores, and the activations, which a search can continue from.

        Reference:
            Lee & Song, EKG (ECCV 2022), importance of a gate's channels.
        """
        weights = [self._segment_weights(segment, mask) for segment in self.segments]
        images = tf.cast(images, self._format(self.segments[0].input))
        site_scores, activations = self._score(images, labels, knowledge, weights)
        scores = np.zeros(self.groups.channels, np.float32)
        for site, values in zip(self._sites, site_scores, strict=True):
            layout = self._weights.layout(site.channels, mask)
            channels = np.where(layout >= 0, site.channels[layout], PINNED)
            prunable = channels != PINNED
            np.add.at(scores, channels[prunable], np.float32(scale) * np.asarray(values)[prunable])
        return Scored(scores, list(activations))

    def forget_weights(self) -> None:
        """Drops cached weights of sub-networks, which would fill the memory in a long search."""
        self._weights.forget()

    def _score_batch(
        self, images: tf.Tensor, labels: tf.Tensor, knowledge: tf.Tensor, weights: Sequence[Sequence[tf.Tensor]]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        tensors = {id(self.segments[0].input): images}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            # Token numbers have no gradient, so there the tape follows the weights.
            tape.watch(images if images.dtype.is_floating else [value for values in weights for value in values])
            for segment, values in zip(self.segments, weights, strict=True):
                execute(segment.calls, tensors, self._naming(segment, values))
            logits = tf.cast(tensors[id(self.segments[-1].output)], tf.float32)
            loss = objective_sum(logits, labels, knowledge)
        gated = [tensors[id(site.tensor)] for site in self._sites]
        gradients = tape.gradient(loss, gated)
        axes = [list(range(values.shape.rank - 1)) for values in gated]
        scores = [
            tf.abs(tf.reduce_sum(tf.cast(values * gradient, tf.float32), axis))
            for values, gradient, axis in zip(gated, gradients, axes, strict=True)
        ]
        return scores, [images, *(tensors[id(segment.output)] for segment in self.segments[:-1]), logits]

    def _format(self, tensor: keras.KerasTensor) -> tf.DType:
        """Returns the number format of a tensor between segments; integers, such as token numbers, keep theirs."""
        own = tf.as_dtype(tensor.dtype)
        return self._dtype if own.is_floating else own

    def _segment_weights(self, segment: Segment, mask: np.ndarray) -> list[tf.Tensor]:
        return [tensor for call in segment.calls for tensor in self._weights.tensors(call, mask)]

    def _naming(self, segment: Segment, values: Sequence[tf.Tensor]) -> Callable[[Call], dict[str, tf.Tensor]]:
        """Returns a function from a call to its weights by name, given the flat list of a segment's weights."""
        named: dict[str, dict[str, tf.Tensor]] = {}
        remaining = iter(values)
        for call in segment.calls:
            named[call.name] = {name: next(remaining) for name in self._weights.names(call)}
        return lambda call: named[call.name]

    def _function(self, segment: Segment) -> Callable[..., tf.Tensor]:
        """Returns the traced function of a segment; segments of equal structure share it."""
        key = self._structure(segment)
        if key not in self._functions:
            last = segment is self.segments[-1]

            def run(values: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
                tensors = {id(segment.input): values}
                execute(segment.calls, tensors, self._naming(segment, weights))
                return tf.cast(tensors[id(segment.output)], tf.float32 if last else self._format(segment.output))

            self._functions[key] = tf.function(run, input_signature=self._signature(segment)).get_concrete_function()
        return self._functions[key]

    def _signature(self, segment: Segment) -> list[tf.TensorSpec]:
        shape = list(segment.input.shape)
        if np.any(self.groups.tensor_channels(segment.input) != PINNED):
            shape[-1] = None
        return [tf.TensorSpec(shape, self._format(segment.input)), *self._weight_specs(segment)]

    def _weight_specs(self, segment: Segment) -> list[tf.TensorSpec]:
        full = np.ones(self.groups.channels, bool)
        specs = []
        for call in segment.calls:
            for name, tensor in zip(self._weights.names(call), self._weights.tensors(call, full), strict=True):
                shape = list(tensor.shape)
                for axis in self._weights.flexible_axes(call, name):
                    shape[axis] = None
                specs.append(tf.TensorSpec(shape, tensor.dtype))
        return specs

    def _score_signature(self) -> list[object]:
        return [
            self._signature(self.segments[0])[0],
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, None]),
            [self._weight_specs(segment) for segment in self.segments],
        ]

    def _structure(self, segment: Segment) -> object:
        """Returns a key that is equal for segments that can share one traced function."""
        numbers = {id(segment.input): 0}
        rows: list[object] = [segment is self.segments[-1], repr(self._signature(segment))]
        for call in segment.calls:
            wiring = tuple(numbers[id(tensor)] for tensor in call.inputs)
            for tensor in call.outputs:
                numbers[id(tensor)] = len(numbers)
            own = call.name if getattr(call.layer, "weights", None) and not self._weights.names(call) else None
            rows.append((type(call.layer), wiring, own, self._weights.names(call), _settings(call)))
        return tuple(rows)

    def _first_segment(self, channels: slice) -> int:
        for index, segment in enumerate(self.segments):
            for call in segment.calls:
                for slot in self.groups.slots_of(call.name):
                    if np.any((slot.channels >= channels.start) & (slot.channels < channels.stop)):
                        return index
        return len(self.segments)


def _settings(call: Call) -> str:
    """Returns a call's constants and its layer's configuration, without what may differ between similar blocks."""
    config = configuration(call.layer) if isinstance(call.layer, keras.Layer) else vars(call.layer)
    kept = {
        key: value
        for key, value in config.items()
        if not key.startswith("_") and key not in _INDIVIDUAL and "initializer" not in key
    }
    constants = call.arguments(dict.fromkeys(map(id, call.inputs)))
    return repr((constants, sorted(kept.items(), key=lambda item: item[0])))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Computes the logarithm of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def label_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the cross-entropy of each example to its label: logits `[n, classes]`, labels `[n]`, result `[n]`."""
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def knowledge_losses(logits: np.ndarray, knowledge: np.ndarray) -> np.ndarray:
    """Computes the cross-entropy of each example to the softmax of the ensemble's logits, both `[n, classes]`."""
    return -(np.exp(log_softmax(knowledge)) * log_softmax(logits)).sum(axis=-1)


def objective_sum(logits: tf.Tensor, labels: tf.Tensor, knowledge: tf.Tensor) -> tf.Tensor:
    """Sums both cross-entropies over a batch, for gradients.

    Args:
        logits: `[batch, classes]`.
        labels: `[batch]`, integers.
        knowledge: Logits of the ensemble `[batch, classes]`.

    Returns:
        A scalar.

    Reference:
        Lee & Song, EKG (ECCV 2022): the ensemble's outputs as a second target in the reward of a candidate.
    """
    to_labels = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    to_ensemble = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(knowledge), logits)
    return tf.reduce_sum(to_labels) + tf.reduce_sum(to_ensemble)
