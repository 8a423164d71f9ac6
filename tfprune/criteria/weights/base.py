"""What criteria for single weights have in common."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.criteria.base import DataUse, refuse_unused_data
from tfprune.criteria.channels.base import check_choice
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights
from tfprune.masks import Masks
from tfprune.ops.top_k import above_kth_of_all, exact_top_of_all

Precision = Literal["float64", "float32"]
Tensors = Mapping[str, tf.Tensor]
Scorer = Callable[[Tensors], dict[str, tf.Tensor]]
Schedule = Literal["exponential", "linear"]
Scope = Literal["global", "local"]
_SHOWN = 6
"""From masks, bool tensors by name, to scores of the same shapes; higher is kept."""


@dataclass(frozen=True, kw_only=True)
class WeightCriterion(ABC):
    """Says which single weights of a model stay.

    Attributes:
        name: Its name in the registry.
        uses_data: Whether it looks at data, see `DataUse`.
        traceable: Whether scores can be traced, so that scoring and choosing are one compiled step.
        iterations: Prune in so many steps, scoring anew what is left.
        schedule: Density after each step: `exponential` takes the same fraction of what is left each time, `linear` the
            same number.
        scope: Compare weights over the whole model (`global`), or keep the same fraction of every kernel (`local`).
        ignore: Layers to leave alone, see `prunable_weights`; they get no mask.
        original_ties: Of weights whose scores equal the threshold keep none, as the originals do, rather than as many
            as are missing, first ones first. Where many scores are equal whole layers go.
        revive: Let pruned weights come back in later iterations if their scores are high enough, as the originals do.
    """

    name: ClassVar[str]
    uses_data: ClassVar[DataUse] = "never"
    traceable: ClassVar[bool] = False
    iterations: int = 1
    schedule: Schedule = "exponential"
    scope: Scope = "global"
    ignore: tuple[Any, ...] = ()
    original_ties: bool = False
    revive: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise ConfigError(f"iterations: expected a whole number of at least 1, received {self.iterations!r}")
        check_choice("schedule", self.schedule, Schedule)
        check_choice("scope", self.scope, Scope)
        single = isinstance(self.ignore, str) or not isinstance(self.ignore, Iterable)
        object.__setattr__(self, "ignore", (self.ignore,) if single else tuple(self.ignore))

    def __call__(
        self,
        model: keras.Model,
        density: float | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
        kept: int | None = None,
    ) -> Masks:
        """Prunes: decides which weights stay. The model is not changed.

        Warns with `LayerCollapseWarning` if nothing is left of a kernel.

        Args:
            model: A functional or sequential model, built.
            density: Fraction of all prunable weights to keep, above 0 and at most 1; n minus the whole part of
                (1 - density) n stay, pruned ones of earlier masks counted in n.
            data: Batches `(x, y)` or arrays, see `CriterionData`; for criteria that look at data.
            masks: What earlier prunings left. Default: everything.
            kept: In place of a density, exactly so many weights to keep (scope `global` only).

        Returns:
            The masks of all prunable weights.

        Raises:
            ConfigError: A setting is impossible, there is no data, scores are not finite, or the masks are another
                model's or keep less than is to stay.
            UnsupportedLayerError: The model has no graph, or layers that Keras cannot copy.
        """
        weights = prunable_weights(model, ignore=self.ignore)
        start = Masks.full(weights) if masks is None else masks
        start.check(weights)
        start = Masks({name: start[name] for name in weights})
        amounts = self._amounts(start, density, kept)
        found = Masks(self._prune(self._checked_scorer(model, weights, data), start, amounts))
        if found.collapsed:
            warnings.warn(LayerCollapseWarning(found.collapsed), stacklevel=2)
        return found

    def weight_scores(
        self,
        model: keras.Model,
        weights: Iterable[str] | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
    ) -> dict[str, np.ndarray]:
        """How much each weight is worth, as in the first iteration.

        Args:
            model: A functional or sequential model, built.
            weights: Names of `prunable_weights(model)`, or that dict. Default: all but what `ignore` leaves out.
            data: As in a call.
            masks: Weights that are pruned already; they count as 0 in the model. Default: none.

        Returns:
            Float64 arrays of the weights' shapes by name, higher is kept.

        Raises:
            ConfigError: As in a call; or the model has no such weight.
        """
        every = prunable_weights(model, ignore=self.ignore if weights is None else ())
        names = list(every) if weights is None else list(weights)
        for name in names:
            if name not in every:
                raise ConfigError(f"weights: expected names of prunable weights of the model, received {name!r}")
        chosen = {name: every[name] for name in names}
        start = Masks.full(chosen) if masks is None else masks
        start.check(chosen)
        scores = self._checked_scorer(model, chosen, data)({name: tf.constant(start[name]) for name in names})
        return {name: np.asarray(score, np.float64) for name, score in scores.items()}

    @abstractmethod
    def _scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        """What gives scores, for masks that may change from iteration to iteration.

        Args:
            model: The model; must not be changed.
            weights: The weights to score, by name.
            data: As in a call.
        """

    def _checked_scorer(self, model: keras.Model, weights: Mapping[str, keras.Variable], data: Any) -> Scorer:
        refuse_unused_data(self, data)
        return self._scorer(model, weights, data)

    def _refuse(self, **plain: Any) -> None:
        """Refuses settings that are not as they must be for criteria that need no rounds or no scores."""
        for name, value in plain.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"{name}: {self.name} decides at once how many weights of each layer stay, received "
                    f"{getattr(self, name)!r}; leave it out"
                )

    def _amounts(self, start: Masks, density: float | None, kept: int | None) -> np.ndarray:
        """How many weights to keep after each iteration, see `PruningAmounts.kept`; no more than there are."""
        counts = list(start.counts.values())
        sizes = [size for _, size in counts]
        amounts = PruningAmounts(sizes, density, kept, self.iterations, self.schedule, self.scope).kept
        left = np.array([start.kept] if self.scope == "global" else [stays for stays, _ in counts])
        if self.revive:
            return amounts
        if (amounts[-1] > left).any():
            raise ConfigError(
                f"density: expected at most that of the masks ({start.density:g}), received more; leave out masks="
            )
        return np.minimum(amounts, left)

    def _prune(self, scorer: Scorer, start: Masks, amounts: np.ndarray) -> dict[str, np.ndarray]:
        selection = Selection(self.scope, original_ties=self.original_ties, revive=self.revive)
        masks: dict[str, tf.Tensor] = {name: tf.constant(start[name]) for name in start}

        choose = selection if self.traceable else tf.function(selection)

        def score_and_choose(masks: dict[str, tf.Tensor], kept: tf.Tensor) -> Any:
            return choose(scorer(masks), masks, kept)

        step = tf.function(score_and_choose) if self.traceable else score_and_choose
        for kept in amounts:
            masks, summary = step(masks, tf.constant(kept, tf.int32))
            self._check_scores(summary.numpy(), list(start))
        return {name: masks[name].numpy() for name in start}

    def _check_scores(self, summary: np.ndarray, names: Sequence[str]) -> None:
        """Refuses scores that cannot be compared; `summary` holds the sum and the largest of each weight."""
        broken = ~np.isfinite(summary).all(axis=1)
        if broken.any():
            name = names[int(np.argmax(broken))]
            raise ConfigError(
                f"criterion {self.name}: expected finite scores, received infinite ones or NaN, first in {name}; look "
                "for weights that are not finite, or use precision='float64'"
            )
        if not summary.any():
            raise ConfigError(
                f"criterion {self.name}: expected scores that tell weights apart, received zeros only; the output does "
                "not depend on any weight, or too many are pruned already"
            )


class PruningAmounts:
    """The numbers of weights to keep, iteration by iteration.

    Args:
        sizes: How many weights each kernel has.
        density: Fraction to keep in the end.
        kept: In its place, how many.
        iterations: How many iterations.
        schedule: `exponential` or `linear`.
        scope: `global` or `local`.

    Attributes:
        densities: After each iteration.
        kept: `[iterations, 1]` or, if local, `[iterations, kernels]`, int64.

    Raises:
        ConfigError: Not exactly one of density and kept is given, or it is out of range.

    Example:
        >>> PruningAmounts([100, 10], 0.25, None, 2, "exponential", "global").kept.tolist()
        [[55], [28]]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), section 6; Chen et al., Peek-a-Boo (ICLR 2022), the authors'
        `prune_loop`: `int((1 - density) * n)` go.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        density: float | None,
        kept: int | None,
        iterations: int,
        schedule: Schedule,
        scope: Scope,
    ) -> None:
        parts = np.array([sum(sizes)] if scope == "global" else sizes, np.int64)
        if (density is None) == (kept is None):
            raise ConfigError("expected one of density and kept, received none or both; give density=0.1")
        if kept is not None:
            density = _density_of(kept, parts)
        assert density is not None
        if isinstance(density, bool) or not isinstance(density, (int, float, np.number)) or not 0 < density <= 1:
            raise ConfigError(
                f"density: expected the fraction of weights to keep, above 0 and at most 1, received {density!r}; to "
                "keep a tenth, write 0.1"
            )
        times = [(step + 1) / iterations for step in range(iterations)]
        target = float(density)
        self.densities = tuple(
            target**time if schedule == "exponential" else 1.0 - (1.0 - target) * time for time in times
        )
        self.kept = np.array([[size - int((1.0 - part) * size) for size in parts] for part in self.densities], np.int64)
        if kept is not None:
            self.kept[-1] = kept
        if (self.kept < 1).any():
            raise ConfigError(f"density: expected one that keeps a weight at least, received {density!r}; raise it")


def _density_of(kept: int, parts: np.ndarray) -> float:
    if len(parts) > 1:
        raise ConfigError(
            "kept: expected scope='global', received 'local', for which it does not say enough; give density"
        )
    if isinstance(kept, bool) or not isinstance(kept, (int, np.integer)) or not 1 <= kept <= parts[0]:
        raise ConfigError(f"kept: expected a whole number from 1 to {parts[0]}, received {kept!r}")
    return kept / int(parts[0])


@dataclass(frozen=True)
class Selection:
    """Keeps the best weights.

    Attributes:
        scope: Over all kernels (`global`), or in each (`local`).
        original_ties: Keep none of those at the threshold.
        revive: Let pruned weights come back.
    """

    scope: Scope = "global"
    original_ties: bool = False
    revive: bool = False

    def __call__(
        self, scores: Mapping[str, tf.Tensor], masks: Mapping[str, tf.Tensor], kept: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Chooses. Can be traced.

        Args:
            scores: Scores by name, all of one type.
            masks: Bool tensors by name: what is not pruned yet.
            kept: How many to keep, `[1]` or, if local, `[kernels]`, int32.

        Returns:
            The new masks by name, and the sum and the largest of each kernel's scores `[kernels, 2]`.
        """
        ranked = {name: self._ranked(score, masks[name]) for name, score in scores.items()}
        vectors = [tf.reshape(score, [-1]) for score in ranked.values()]
        if self.scope == "local":
            marks = [self._best([vector], kept[index])[0] for index, vector in enumerate(vectors)]
        else:
            marks = self._best(vectors, kept[0])
        chosen = {
            name: tf.reshape(mark, score.shape) for mark, (name, score) in zip(marks, scores.items(), strict=True)
        }
        return chosen, tf.stack([_summary(score) for score in scores.values()])

    def _ranked(self, score: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Scores with pruned weights behind all others."""
        return score if self.revive else tf.where(mask, score, score.dtype.min)

    def _best(self, scores: list[tf.Tensor], kept: tf.Tensor) -> list[tf.Tensor]:
        if self.original_ties:
            return above_kth_of_all(scores, tf.add_n([tf.size(vector) for vector in scores]) - kept)
        return exact_top_of_all(scores, kept)


def _summary(score: tf.Tensor) -> tf.Tensor:
    """The sum, which is not finite if a score is not, and the largest: both are 0 only if all scores are."""
    return tf.stack([tf.reduce_sum(score), tf.reduce_max(score)])


class LayerCollapseWarning(UserWarning):
    """Nothing is left of a kernel, so its layer passes nothing on but its bias.

    Args:
        names: The weights, such as `Masks.collapsed`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        super().__init__(
            f"layer collapse: nothing is left of {', '.join(names[:_SHOWN])}{more}; keep a larger density, "
            "prune in more iterations, or use scope='local'"
        )
        self.names = tuple(names)
