"""The base class of criteria for single weights.

A criterion is one class with one method, `scores`. All else is done here: prune in rounds along a schedule, keep an
exact number of weights over the model or in every kernel, break ties, go on from masks of an earlier pruning, refuse
data that is not used and scores that cannot be compared.
"""

import copy
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import instance, truth, whole_number
from tfprune.criteria.data import CriterionData, reject_unused_data
from tfprune.criteria.registry import DataUse, Kind, criterion, criterion_names, register_criterion
from tfprune.criteria.weights.selection import Schedule, Scope, Selection, keep_counts
from tfprune.errors import ConfigError, check_choice
from tfprune.graph import (
    ModelClassWarning,
    SharedWeightsWarning,
    convert,
    functional_model,
    kernels_of_copy,
    prunable_weights,
    unpruned_weights,
)
from tfprune.graph.calls import check_finite_weights
from tfprune.masks import Masks
from tfprune.tables import listed

Precision = Literal["float64", "float32"]
Tensors = Mapping[str, tf.Tensor]
Made = TypeVar("Made")
_AnyWeightCriterion = TypeVar("_AnyWeightCriterion", bound="type[WeightCriterion]")
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class WeightCriterion(ABC):
    """Base class of criteria for single weights.

    A subclass overrides `scores`. Settings of its own are fields of a dataclass (`kw_only=True`); a subclass without
    any needs no decorator.

    Attributes:
        name: Its name in the registry.
        kind: What it scores: `weights`.
        uses_data: Whether it uses data, see `DataUse`. Data for a criterion that never uses any is an error.
        traceable: Whether `scores` can be traced, so that scoring and choosing are one compiled step.
        updates: Whether `prune` changes the weights that are kept, so that masks go with its model only.
        iterations: Prune in this many rounds, each of which scores the remaining weights.
        schedule: Density after each round: `exponential` removes the same fraction of the remaining weights each time,
            `linear` the same number.
        scope: Compare weights over the whole model (`global`), or keep the same fraction of every kernel (`local`).
        ignore: Layers to leave alone, see `prunable_weights`; they get no mask.
        original_ties: Of weights whose scores equal the threshold keep none, as the authors' code does, instead of the
            first ones up to the exact number, which is rounded as in that code, too (see `original_kept_count`). If
            many scores are equal, whole layers are removed.
        revive: Let pruned weights come back in later rounds if their scores are high enough, as the authors' code does.

    Example:
        >>> class Smallest(WeightCriterion):
        ...     def scores(self, model, weights, data=None):
        ...         return {name: -abs(np.asarray(weight)) for name, weight in weights.items()}
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
        >>> Smallest(iterations=2)(model, density=0.5)
        Masks(1 weight, 3 of 6 kept, density 0.5)
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "weights"
    uses_data: ClassVar[DataUse] = "never"
    traceable: ClassVar[bool] = False
    updates: ClassVar[bool] = False
    iterations: int = 1
    schedule: Schedule = "exponential"
    scope: Scope = "global"
    ignore: tuple[Any, ...] = ()
    original_ties: bool = False
    revive: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__  # until it is registered

    def __post_init__(self) -> None:
        object.__setattr__(self, "iterations", whole_number("iterations", self.iterations))
        check_choice("schedule", self.schedule, Schedule)
        check_choice("scope", self.scope, Scope)
        for name in ("original_ties", "revive"):
            object.__setattr__(self, name, truth(name, getattr(self, name)))
        single = isinstance(self.ignore, str | np.ndarray) or not isinstance(self.ignore, Iterable)
        object.__setattr__(self, "ignore", (self.ignore,) if single else tuple(self.ignore))

    @abstractmethod
    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> Mapping[str, Any]:
        """Scores the weights of a model. It is called once in each round, as `scores(model, masks, data)`.

        A method whose second parameter is called `weights` gets the weights themselves there, variables by name.

        Args:
            model: The model, as it is: pruned weights are not 0 in it. It must not be changed.
            masks: Bool tensors by the names of the weights to score, see `prunable_weights`: what is not pruned yet.
            data: The data of the call; None if there is none.

        Returns:
            By name, an array of the weight's shape; higher is kept. Scores of pruned weights count only with `revive`.
        """

    def prepare(self, model: keras.Model, masks: Tensors, data: CriterionData | None) -> None:  # noqa: B027
        """Does what comes before the first round; arguments as for `scores`.

        A `traceable` criterion must make here, by `once`, all models and variables that it needs. Default: nothing.
        """

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """Returns what `make` returns; within a pruning, `make` is called only in the first round.

        For what `scores` needs in every round and takes long to make, such as a copy of the model or a traced function.

        Args:
            name: A name for it, unique within the criterion.
            make: Makes it.
        """
        made = self.__dict__.get("_made")
        if made is None:
            return make()
        if name not in made:
            made[name] = make()
        found: Made = made[name]
        return found

    def __call__(
        self,
        model: keras.Model,
        density: float | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
        kept: int | None = None,
        on_scores: Callable[[dict[str, np.ndarray]], None] | None = None,
    ) -> Masks:
        """Decides which weights are kept. The model is not changed.

        Warns with `LayerCollapseWarning` if nothing is left of a kernel, and with `UnprunedWeightsWarning` if layers of
        one's own hold matrices that are no kernels.

        Args:
            model: A functional or sequential model, built.
            density: Fraction of all prunable weights to keep, above 0 and at most 1; those that earlier masks pruned
                count, too. `tfprune.ops.density.kept_count` says how many that are.
            data: Batches `(x, y)` or arrays, see `CriterionData`, for criteria that use data.
            masks: The masks of an earlier pruning. Default: everything is left.
            kept: Instead of a density, the number of weights to keep (scope `global` only).
            on_scores: Called at the end with the scores of the last round by name, float64. A criterion that draws sets
                of weights, or prunes kernel after kernel, has none, and does not call it.

        Returns:
            The masks of all prunable weights.

        Raises:
            ConfigError: A setting is impossible, data is missing, scores are not finite, or the masks belong to another
                model or keep fewer weights than asked for.
            UnsupportedLayerError: The model has no graph, or layers that Keras cannot copy.
        """
        return self._run(on_scores)._pruned(functional_model(model), density, data, masks, kept)

    def prune(
        self,
        model: keras.Model,
        density: float | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
        kept: int | None = None,
    ) -> tuple[keras.Model, Masks]:
        """Prunes a copy of a model: removed weights are 0 and, if the criterion `updates`, kept ones make up for them.

        Args:
            model: A functional or sequential model, built. It is not changed.
            density: As in a call, like the other arguments, warnings and errors.
            data: See there.
            masks: See there.
            kept: See there.

        Returns:
            The copy, of Keras' own layers as `tfprune.convert(model, "plain")` makes it, and the masks of all prunable
            weights: `tfprune.convert(copy, "masked", masks)` can be trained while removed weights stay 0.

        Example:
            >>> from tfprune.criteria import Magnitude
            >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
            >>> pruned, masks = Magnitude().prune(model, density=0.5)
            >>> int(np.count_nonzero(pruned.get_layer("fc").kernel))
            3
        """
        model = functional_model(model)
        run = self._run()
        pruned = run.once("copy", lambda: convert(model, "plain"))
        found = run._pruned(model, density, data, masks, kept)
        for name, variables in kernels_of_copy(model, pruned).items():
            for variable in variables if name in found else ():
                variable.assign(np.where(found[name], np.asarray(variable), 0))
        return pruned, found

    def _pruned(
        self,
        model: keras.Model,
        density: float | None,
        data: Any,
        masks: Masks | None,
        kept: int | None,
    ) -> Masks:
        """Does what a call does, in a copy of the criterion that remembers what it made."""
        weights = self._prunable(model)
        check_finite_weights(model)
        start = _start(masks, weights)
        start = Masks({name: start[name] for name in weights})
        counts = self._counts(model, start, density, kept)
        chosen = self._choose(model, start, counts, self._checked_data(data, model))
        found = Masks(chosen, parameters=_parameters(model))
        if unseen := unpruned_weights(model, ignore=self.ignore):
            warnings.warn(UnprunedWeightsWarning(unseen), stacklevel=3)
        if found.collapsed:
            warnings.warn(LayerCollapseWarning(found.collapsed), stacklevel=3)
        return found

    def weight_scores(
        self,
        model: keras.Model,
        weights: Iterable[str] | None = None,
        data: Any = None,
        *,
        masks: Masks | None = None,
    ) -> dict[str, np.ndarray]:
        """Scores weights as in the first round of a pruning, with all checks.

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
        model = functional_model(model)
        every = prunable_weights(model, ignore=self.ignore if weights is None else ())
        names = list(every) if weights is None else list(weights)
        for name in names:
            if name not in every:
                raise ConfigError(f"weights: expected names of prunable weights of the model, received {name!r}")
        chosen = {name: every[name] for name in names}
        start = _start(masks, chosen)
        check_finite_weights(model)
        run = self._run()
        everything = {name: tf.constant(start[name]) for name in names}
        scores = run._checked_scores(model, everything, run._checked_data(data, model))
        return {name: np.asarray(score, np.float64) for name, score in scores.items()}

    def _prunable(self, model: keras.Model) -> Mapping[str, keras.Variable]:
        """Returns the weights to prune by name, in the order of the masks."""
        return prunable_weights(model, ignore=self.ignore)

    def _counts(self, model: keras.Model, start: Masks, density: float | None, kept: int | None) -> np.ndarray:
        """Returns how many weights to keep after each round, see `keep_counts`; no more than are left."""
        counts = list(start.counts.values())
        sizes = [size for _, size in counts]
        wanted = keep_counts(
            sizes,
            density,
            kept,
            iterations=self.iterations,
            schedule=self.schedule,
            scope=self.scope,
            original=self.original_ties,
        )
        left = np.array([start.kept] if self.scope == "global" else [remaining for remaining, _ in counts])
        if self.revive:
            return wanted
        if (wanted[-1] > left).any():
            raise ConfigError(
                f"density: expected at most that of the masks ({start.density:g}), received more; leave out masks="
            )
        return np.minimum(wanted, left)

    def _choose(
        self, model: keras.Model, start: Masks, counts: np.ndarray, data: CriterionData | None
    ) -> Mapping[str, np.ndarray]:
        """Returns the masks after all rounds, given how many weights each of them keeps."""
        selection = Selection(original_ties=self.original_ties, revive=self.revive)
        choose = selection if self.traceable else tf.function(selection)
        wanted = self.__dict__.get("_on_scores") is not None

        def score_and_choose(masks: dict[str, tf.Tensor], kept: tf.Tensor) -> Any:
            scores = self._checked_scores(model, masks, data)
            return *choose(scores, masks, kept), scores if wanted else {}

        masks: dict[str, tf.Tensor] = {name: tf.constant(start[name]) for name in start}
        self.prepare(model, masks, data)
        step = tf.function(score_and_choose) if self.traceable else score_and_choose
        for kept in counts:
            masks, summary, scores = step(masks, tf.constant(kept, tf.int32))
            self._check_scores(summary.numpy(), list(start))
        self._give_scores(scores)
        return {name: masks[name].numpy() for name in start}

    def _give_scores(self, scores: Mapping[str, tf.Tensor]) -> None:
        """Passes the scores that decided to who asked for them."""
        if (on_scores := self.__dict__.get("_on_scores")) is not None:
            on_scores({name: np.asarray(score, np.float64) for name, score in scores.items()})

    def _run(self, on_scores: Callable[[dict[str, np.ndarray]], None] | None = None) -> Self:
        """Returns a copy of this criterion for one pruning, in which `once` remembers what it made."""
        run = copy.copy(self)
        object.__setattr__(run, "_made", {})
        object.__setattr__(run, "_on_scores", on_scores)
        return run

    def _copy(self, model: keras.Model) -> keras.Model:
        """Returns the copy of the model that `prune` returns; in a call, one for the moment, without its warnings."""

        def make() -> keras.Model:
            with warnings.catch_warnings():
                for kind in (ModelClassWarning, SharedWeightsWarning):
                    warnings.simplefilter("ignore", kind)
                return convert(model, "plain")

        return self.once("copy", make)

    def _checked_data(self, data: Any, model: keras.Model) -> CriterionData | None:
        reject_unused_data(self, data)
        if self.uses_data == "always":
            return CriterionData.required(data, self.name, model)
        return None if data is None else CriterionData.of(data, model)

    def _checked_scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None) -> dict[str, tf.Tensor]:
        """Returns the scores as tensors of one type, in the order of the masks."""
        given: Any = masks
        if list(inspect.signature(self.scores).parameters)[1:2] == ["weights"]:
            weights = self.once("weights", lambda: prunable_weights(model))
            given = {name: weights[name] for name in masks}
        found = self.scores(model, given, data)
        if not isinstance(found, Mapping) or found.keys() != masks.keys():
            received = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise ConfigError(
                f"criterion {self.name}: expected a dict with scores of {', '.join(masks)}, received {received}"
            )
        scores = {name: tf.convert_to_tensor(found[name]) for name in masks}
        for name, score in scores.items():
            if score.shape != masks[name].shape:
                raise ConfigError(
                    f"criterion {self.name}: expected scores of shape {tuple(masks[name].shape)} for {name}, received "
                    f"shape {tuple(score.shape)}"
                )
        types = {score.dtype for score in scores.values()}
        if types in ({tf.float32}, {tf.float64}):
            return scores
        return {name: tf.cast(score, tf.float64) for name, score in scores.items()}

    def _check_scores(self, summary: np.ndarray, names: Sequence[str]) -> None:
        """Raises `ConfigError` if scores cannot be compared; `summary` has the sum and the maximum of each weight's."""
        broken = ~np.isfinite(summary).all(axis=1)
        if broken.any():
            name = names[int(np.argmax(broken))]
            raise ConfigError(
                f"criterion {self.name}: expected finite scores, received infinite ones or NaN, first in {name}; look "
                "for weights that are not finite, or use precision='float64'"
            )
        if not summary.any():
            raise ConfigError(
                f"criterion {self.name}: expected scores that differ between weights, received zeros only; the output "
                "does not depend on any weight, or too many are pruned already"
            )

    def _require(self, **values: Any) -> None:
        """Raises `ConfigError` if a setting has no effect on this criterion, which decides the counts of each layer."""
        for name, value in values.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"{name}: {self.name} decides at once how many weights of each layer are kept, received "
                    f"{getattr(self, name)!r}; leave it out"
                )


def _start(masks: Masks | None, weights: Mapping[str, keras.Variable]) -> Masks:
    """Returns the masks that a pruning starts from, all weights by default; raises `ConfigError` if they do not fit."""
    start = Masks.full(weights) if masks is None else instance("masks", masks, Masks, "Masks")
    start.check(weights)
    return start


def _parameters(model: keras.Model) -> int:
    """Returns the number of parameters of a model, without the masks of masked layers."""
    return sum(int(np.prod(weight.shape)) for weight in model.weights if weight.dtype != "bool")


def register_weight_criterion(name: str) -> Callable[[_AnyWeightCriterion], _AnyWeightCriterion]:
    """Registers a subclass of `WeightCriterion` under a name, see `register_criterion`.

    Args:
        name: The name.

    Returns:
        A decorator for the class.

    Raises:
        ConfigError: The name belongs to another class, or the class is no subclass of `WeightCriterion`.
    """

    def add(cls: _AnyWeightCriterion) -> _AnyWeightCriterion:
        if not (isinstance(cls, type) and issubclass(cls, WeightCriterion)):
            raise ConfigError(f"weight criterion {name!r}: expected a subclass of WeightCriterion, received {cls!r}")
        return register_criterion(name)(cls)

    return add


def weight_criterion(name: str, **settings: Any) -> WeightCriterion:
    """Creates a criterion for weights.

    Args:
        name: One of `weight_names()`.
        **settings: Its fields.

    Returns:
        The criterion.

    Raises:
        ConfigError: There is no such criterion, or it has no such setting.

    Example:
        >>> weight_criterion("magnitude", scope="local")
        Magnitude(iterations=1, schedule='exponential', scope='local', ignore=(), original_ties=False, revive=False)
    """
    found: WeightCriterion = criterion(name, kind="weights", **settings)
    return found


def weight_names() -> tuple[str, ...]:
    """Returns the names of all criteria for weights, in alphabetical order."""
    return criterion_names("weights")


class LayerCollapseWarning(UserWarning):
    """Nothing is left of a kernel, so its layer passes on nothing but its bias.

    Args:
        names: The weights, such as `Masks.collapsed`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"layer collapse: nothing is left of {listed(names, _SHOWN)}; keep a larger density, "
            "prune in more iterations, or use scope='local'"
        )
        self.names = tuple(names)


class UnprunedWeightsWarning(UserWarning):
    """A model has trained matrices that no criterion for weights sees.

    Args:
        weights: The weights by name, see `tfprune.graph.unpruned_weights`.
    """

    def __init__(self, weights: Mapping[str, keras.Variable]) -> None:
        names = list(weights)
        count = sum(int(np.prod(weight.shape)) for weight in weights.values())
        super().__init__(
            f"the density is that of the kernels: {count:,} other weights of the model are all kept, those of "
            f"{listed(names, _SHOWN)}; keep them in attributes with 'kernel' in their name, or register "
            "their layer with tfprune.layers.register_kernel_layer"
        )
        self.names = tuple(names)
