"""EKG's greedy search for a sub-network, guided by the ensemble of the sub-networks found on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, number, truth, whole_number
from tfprune.arrays import place_in
from tfprune.batches.inputs import InputCheck
from tfprune.batches.labels import class_numbers
from tfprune.errors import ConfigError, SearchError, check_choice
from tfprune.graph import ALIGNMENT, ChannelGroups, CostModel, averages_channels, executable_groups, slim
from tfprune.graph.calls import check_weights
from tfprune.landscape.measure import Landscape, measure
from tfprune.landscape.settings import LandscapeSettings
from tfprune.reprs import short_repr
from tfprune.search.state import Candidate, Gates, SearchResult, SearchState, Step, SubNetwork
from tfprune.search.subnetworks import Activations, Precision, SubNetworks, knowledge_losses, label_losses
from tfprune.tables import listed

_LEAST_EXACT = 3
_TRIMMED = 0.2


@dataclass
class Search:
    """The search over one model and one set of validation images.

    Each step ranks the channels of every gate by first-order importance, marks the gates whose next decrement costs
    little, tries one decrement for each of those, and keeps the single one whose sub-network has the least
    cross-entropy to the labels plus cross-entropy to the ensemble's mean logits.

    With `original_quirks` it follows the authors' code where that departs from the paper, so that its choices can be
    compared: the importance of a decrement is summed over the wrong axis (`removable_importance`), the first entry of
    the history has the rates of the last candidate tried instead of the full model, rates are rounded to 5 digits
    (which can keep a channel too many) and to 2 in the fine search, whose range ignores that shared gates take smaller
    steps, and losses are divided by `batches * batch_size` instead of by the number of images. Without it, these faults
    are corrected.

    Attributes:
        model: A functional model of plain layers. It is not changed.
        images: Validation images `[n, height, width, channels]`, normalized, float32.
        labels: Their labels `[n]`.
        target: Stop when FLOPs fall to this fraction of the model's.
        search_step: Fraction of its width that a gate gives up in one step, if a single layer makes its channels.
        batch_size: Images per batch; batch statistics are taken over a batch, so it matters.
        dtype: `float32`, or `bfloat16` for candidates: those close to the best are then run again in float32.
        original_quirks: See above.

    Raises:
        ConfigError: There are no images, or another number of labels, or the model does not take them.
        SearchError: The model does not return logits, or has nothing to prune.

    Reference:
        Lee & Song, Ensemble Knowledge Guided Sub-network Search and Fine-tuning for Filter Pruning (ECCV 2022).
    """

    model: keras.Model
    images: np.ndarray
    labels: np.ndarray
    target: float
    search_step: float = 0.2
    batch_size: int = 256
    dtype: str = "float32"
    original_quirks: bool = False
    groups: ChannelGroups = field(init=False)
    gates: Gates = field(init=False)

    __repr__ = short_repr

    def __post_init__(self) -> None:
        instance("model", self.model, keras.Model, "a Keras model")
        self.target = number("target", self.target, above=0, at_most=1)
        self.batch_size = whole_number("batch_size", self.batch_size)
        check_choice("dtype", self.dtype, Precision)
        self.original_quirks = truth("original_quirks", self.original_quirks)
        if len(self.images) == 0 or len(self.images) != len(self.labels):
            raise ConfigError(
                f"expected as many labels as images, and at least one, received {len(self.images)} images and "
                f"{len(self.labels)} labels"
            )
        if len(self.model.outputs) != 1 or len(self.model.outputs[0].shape) != 2:
            raise SearchError(
                f"expected a model with one output [batch, classes], received outputs {self.model.output_shape}"
            )
        check_weights(self.model)
        self.groups = executable_groups(self.model)
        if not len(self.groups):
            raise SearchError(f"model {self.model.name} has no channels that can be searched{self._not_searched()}")
        self.gates = Gates(self.groups, self.search_step)
        self.cost = CostModel(self.model, self.groups)
        self.full_params, self.full_flops = self.cost.totals(np.ones(self.groups.channels, bool))
        alignment = 1 if averages_channels(self.groups) else ALIGNMENT[self.dtype]
        self._exact = SubNetworks(self.model, self.groups, alignment=alignment)
        self._fast = (
            self._exact if self.dtype == "float32" else SubNetworks(self.model, self.groups, self.dtype, alignment)
        )
        self.batches = [
            slice(start, min(start + self.batch_size, len(self.images)))
            for start in range(0, len(self.images), self.batch_size)
        ]
        check = InputCheck(self.model)
        self.inputs = [
            tf.cast(check(self.images[part], place_in(range(part.start, part.stop))), tf.float32)
            for part in self.batches
        ]
        self.labels = class_numbers(self.labels, tuple(self.model.outputs[0].shape))
        quirks = self.original_quirks
        self.score_divisor = self.batch_size if quirks else len(self.images)
        self._divisor = self.batch_size * len(self.batches) if quirks else len(self.images)

    def _not_searched(self) -> str:
        """Returns a note on what the search leaves alone, the first few layers; empty if that is nothing."""
        names = [str(each) for each in self.groups.left_alone if not each.is_output]
        return f" ({listed(names, separator='; ')})" if names else ""

    def start(self) -> SearchState:
        """Returns the state before the first step: the full model, whose logits start the ensemble."""
        everything = np.ones(self.groups.channels, bool)
        logits = np.concatenate([self._exact.logits(everything, images) for images in self.inputs])
        accuracy, loss, _ = self.measure(logits, logits)
        rates, orders = np.ones(len(self.groups)), np.zeros(self.groups.channels, np.float32)
        history = (SubNetwork(orders, rates, loss),)
        return SearchState(rates, orders, logits, 1, history, self.full_params, self.full_flops, accuracy)

    def run(self, state: SearchState | None = None) -> Iterator[tuple[SearchState, Step]]:
        """Makes steps until the target is reached.

        Args:
            state: The state to continue from. Default: the start.

        Yields:
            The state after each step, and the step.

        Raises:
            SearchError: No gate is left to try, or the full model meets the target already.
        """
        state = state or self.start()
        if len(state.history) == 1 and state.flops <= self.target * self.full_flops:
            raise SearchError(
                f"the model meets the target of {self.target:.0%} of its FLOPs already; nothing to search"
            )
        while not self.done(state):
            state, step = self.step(state)
            yield state, step

    def done(self, state: SearchState) -> bool:
        """Returns whether a state has reached the target."""
        return state.flops / self.full_flops <= self.target

    def result(self, state: SearchState) -> SearchResult:
        """Returns the result of a search that ended in `state`."""
        *history, final = state.history
        return SearchResult(
            self.model, self.groups, self.gates, tuple(history), final, state.knowledge, state.params, state.flops
        )

    def landscape(self, state: SearchState, settings: LandscapeSettings | None = None) -> Landscape:
        """Measures the loss landscape of a state's sub-network, on the validation images in the search's batches.

        Args:
            state: The state after a step.
            settings: What is measured.

        Returns:
            Sections of the label loss along random directions, and its curvature, if the settings say so.

        Raises:
            ConfigError: Batch norms are to use their stored averages, which do not fit a sub-network.
        """
        if settings is not None and settings.batch_norm == "moving":
            raise ConfigError(
                "landscape: expected batch_norm batch or recalibrated, received moving: the stored averages do not fit "
                "a sub-network"
            )
        small = slim(self.model, self.gates.mask(state.orders, state.rates), self.groups, rescale_kernels=True)
        data = [(images, self.labels[batch]) for images, batch in zip(self.inputs, self.batches, strict=True)]
        return measure(
            small, data, settings, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), progress=False
        )

    def step(self, state: SearchState) -> tuple[SearchState, Step]:
        """Makes one step: scores channels, marks gates, tries a decrement of each, accepts one."""
        scores, cached = self._score(state)
        orders, tries = self.candidates(state, scores)
        if not tries:
            raise SearchError(
                f"no gate is left to try at {state.flops / self.full_flops:.1%} of the FLOPs{self._not_searched()}; "
                "expected a target that can be reached (flops of tfprune.ekg.search, --search_target_rate of "
                f"train_cifar), received {self.target}"
            )
        candidates, logits = self._evaluate(state, orders, tries, cached)
        best = int(np.argmin([candidate.score for candidate in candidates]))
        chosen = candidates[best]
        rates = state.rates.copy()
        rates[chosen.gate] = chosen.rate
        history = state.history
        if len(history) == 1:
            history = (self._first_entry(state, orders, candidates[-1]),)
        members = state.members
        knowledge = (state.knowledge * members + logits[best]) / (members + 1)
        accepted = SubNetwork(orders, rates, chosen.loss)
        new = SearchState(
            rates,
            orders,
            knowledge.astype(np.float32),
            members + 1,
            (*history, accepted),
            chosen.params,
            chosen.flops,
            chosen.accuracy,
        )
        return new, Step(scores, orders, tuple(candidates), chosen)

    def candidates(self, state: SearchState, scores: np.ndarray) -> tuple[np.ndarray, list[Candidate]]:
        """Returns the ranks and the decrements that a step tries, given the importance of all channels `[channels]`."""
        orders = self.gates.orders(scores)
        marked = marked_gates(removable_importance(scores, self.gates, state.rates, original=self.original_quirks))
        tries = [self._decrement(state, orders, int(gate)) for gate in np.flatnonzero(marked & (state.rates > 0))]
        # A decrement can keep as many channels as before; the authors' code runs it nevertheless.
        return orders, [each for each in tries if each.flops < state.flops or self.original_quirks]

    def _first_entry(self, state: SearchState, orders: np.ndarray, last: Candidate) -> SubNetwork:
        rates = state.rates.copy()
        if self.original_quirks:
            rates[last.gate] = last.rate
        return SubNetwork(orders, rates, state.history[0].loss)

    def _score(self, state: SearchState) -> tuple[np.ndarray, list[Activations]]:
        """Computes the importance of all channels over all batches, and the activations of the current sub-network."""
        mask = self.gates.mask(state.orders, state.rates)
        scores = np.zeros(self.groups.channels, np.float32)
        cached = []
        for batch, images in zip(self.batches, self.inputs, strict=True):
            labels, knowledge = tf.constant(self.labels[batch]), tf.constant(state.knowledge[batch])
            scored = self._exact.score(mask, images, labels, knowledge, 1 / self.score_divisor)
            scores += scored.scores
            cached.append(scored.activations)
        return scores, cached

    def _decrement(self, state: SearchState, orders: np.ndarray, gate: int) -> Candidate:
        """Returns the width that a step tries for a gate, refined if it would overshoot the target."""
        digits = 5 if self.original_quirks else 9
        rate = round(state.rates[gate] - self.gates.steps[gate], digits)
        params, flops = self._cost_at(state, orders, gate, rate)
        if flops / self.full_flops < self.target:
            rate = self._refine(state, orders, gate, rate)
            params, flops = self._cost_at(state, orders, gate, rate)
        return Candidate(gate, rate, params, flops)

    def _refine(self, state: SearchState, orders: np.ndarray, gate: int, rate: float) -> float:
        """Returns the widest rate from `rate` upwards that still meets the target."""
        fine = self.gates.fine_steps[gate]
        span = self.search_step if self.original_quirks else self.gates.steps[gate]
        width = rate
        for value in np.arange(rate, rate + span, fine):
            width = round(value, 2) if self.original_quirks else round(value, 9)
            if self._cost_at(state, orders, gate, width)[1] / self.full_flops > self.target:
                return round(value - fine, 5 if self.original_quirks else 9)
        return float(width)

    def _cost_at(self, state: SearchState, orders: np.ndarray, gate: int, rate: float) -> tuple[int, int]:
        return self.cost.totals(self._mask_at(state, orders, gate, rate))

    def _mask_at(self, state: SearchState, orders: np.ndarray, gate: int, rate: float) -> np.ndarray:
        rates = state.rates.copy()
        rates[gate] = rate
        return self.gates.mask(orders, rates)

    def _evaluate(
        self, state: SearchState, orders: np.ndarray, tries: list[Candidate], cached: list[Activations]
    ) -> tuple[list[Candidate], list[np.ndarray]]:
        """Runs all candidates; with a fast number format, the promising ones again in float32."""
        base = self.gates.mask(orders, state.rates)
        cached = self._updated(base, self.gates.mask(state.orders, state.rates), cached)
        masks = [self._mask_at(state, orders, each.gate, each.rate) for each in tries]
        if self._fast is self._exact:
            logits = [self._run(self._exact, each.gate, mask, cached) for each, mask in zip(tries, masks, strict=True)]
        else:
            logits = self._screen(state, tries, masks, cached)
        self._exact.forget_weights()
        self._fast.forget_weights()
        measured = [self.measure(each, state.knowledge) for each in logits]
        candidates = [
            replace(each, accuracy=accuracy, loss=loss, score=score)
            for each, (accuracy, loss, score) in zip(tries, measured, strict=True)
        ]
        return candidates, logits

    def _screen(
        self, state: SearchState, tries: list[Candidate], masks: list[np.ndarray], cached: list[Activations]
    ) -> list[np.ndarray]:
        """Runs all candidates in the fast format, and in float32 those that could be the best.

        The fast format's error is measured on the candidates run in both formats, at least three; a candidate cannot be
        the best if it would still lose after twice the largest error seen.
        """
        logits = [self._run(self._fast, each.gate, mask, cached) for each, mask in zip(tries, masks, strict=True)]
        scores = np.array([self.measure(each, state.knowledge)[2] for each in logits])
        exact = np.full(len(tries), np.inf)
        error = 0.0
        while True:
            index = int(np.argmin(np.where(np.isinf(exact), scores, np.inf)))
            tried = np.isfinite(exact)
            if tried.all() or (tried.sum() >= _LEAST_EXACT and scores[index] - 2 * error > exact.min()):
                return logits
            logits[index] = self._run(self._exact, tries[index].gate, masks[index], cached)
            exact[index] = self.measure(logits[index], state.knowledge)[2]
            error = max(error, abs(exact[index] - scores[index]))

    def _updated(self, mask: np.ndarray, old: np.ndarray, cached: list[Activations]) -> list[Activations]:
        """Runs again what the new ranking changed: a channel that is kept may be replaced by another one."""
        start = self._exact.first_difference(mask, old)
        if start == len(self._exact.segments):
            return cached
        return [
            [*activations[: start + 1], *self._exact.forward(mask, activations[start], start)] for activations in cached
        ]

    def _run(self, networks: SubNetworks, gate: int, mask: np.ndarray, cached: list[Activations]) -> np.ndarray:
        start = networks.first_segment(gate)
        return np.concatenate([networks.logits(mask, activations[start], start) for activations in cached])

    def measure(self, logits: np.ndarray, knowledge: np.ndarray) -> tuple[float, float, float]:
        """Returns accuracy, label loss, and label loss plus cross-entropy to the ensemble."""
        label_loss = label_losses(logits, self.labels).sum() / self._divisor
        knowledge_loss = knowledge_losses(logits, knowledge).sum() / self._divisor
        accuracy = float((logits.argmax(axis=-1) == self.labels).mean())
        return accuracy, float(label_loss), float(label_loss + knowledge_loss)


def removable_importance(scores: np.ndarray, gates: Gates, rates: np.ndarray, *, original: bool = False) -> np.ndarray:
    """Computes the importance that each gate would lose by its next decrement.

    Args:
        scores: Importance of all channels `[channels]`.
        gates: The gates.
        rates: Fraction of channels kept, per gate.
        original: Do as the authors' code does: its slice runs over the wrong axis, so that an unpruned gate counts all
            its importance, and a pruned one none.

    Returns:
        `[groups]`; infinite for gates that have no width left.
    """
    sums = np.full(len(rates), np.inf)
    for index, group in enumerate(gates.groups):
        rate, size = rates[index], group.size
        if rate <= 0:
            continue
        ascending = np.sort(scores[group.channels])
        if original:
            sums[index] = ascending.sum() if round((1 - rate) * size) == 0 else 0.0
        else:
            gone = size - gates.kept(index, rate)
            next_gone = size - gates.kept(index, rate - gates.steps[index])
            sums[index] = ascending[gone:next_gone].sum()
    return sums


def trimmed_otsu(values: Sequence[float] | np.ndarray) -> float:
    """Finds the threshold that best separates values into a low and a high class, extremes left out.

    A fifth of the sorted values is cut off at each end; among the rest the threshold with the largest variance between
    the classes wins, the first one on ties.

    Args:
        values: At least one number.

    Returns:
        The threshold; the maximum if too few are left to separate (where the authors' code crashes).

    Reference:
        Lee & Song, EKG (ECCV 2022), choice of candidate gates; Otsu (1979).
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cut = int(np.ceil(_TRIMMED * len(ordered)))
    trimmed = ordered[cut : len(ordered) - cut]
    count = len(trimmed)
    if count <= 2:
        return float(ordered[-1])
    lower = np.arange(1, count - 1)
    variances = [t * (count - t) * (trimmed[:t].mean() - trimmed[t:].mean()) ** 2 for t in lower]
    best = int(lower[np.argmax(variances)])
    return float((trimmed[best - 1] + trimmed[best]) / 2)


def marked_gates(importance: np.ndarray) -> np.ndarray:
    """Returns bool `[groups]`: the gates to try, those at or below the threshold of `trimmed_otsu`."""
    finite = np.isfinite(importance)
    if not finite.any():
        return finite
    return finite & (importance <= trimmed_otsu(importance[finite]))
