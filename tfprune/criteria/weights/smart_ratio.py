"""Smart ratios: a fixed rule says how many weights each layer keeps; which ones does not matter, or their size decides.

`smart_ratios` computes the rule for the sizes of layers; the criteria `SmartRatio` and `Hybrid` apply it to a model.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from tfprune.arguments import number
from tfprune.criteria.data import CriterionData
from tfprune.criteria.weights.criterion import Tensors, WeightCriterion, register_weight_criterion
from tfprune.criteria.weights.magnitude import magnitudes
from tfprune.errors import ConfigError, check_choice
from tfprune.graph import adds_branches, main_path_order
from tfprune.masks import Masks, layer_generator
from tfprune.ops.density import kept_count
from tfprune.reprs import short_repr

Treatment = Literal["auto", "chain", "residual"]
Rule = Literal["quadratic", "linear_decay", "ascend", "cubic", "uniform"]
_F = np.float32
# From the index of a layer, l = 1 .. L, and the number of layers. Whole numbers: they are exact in float32.
_BASES: dict[str, Callable[[int, int], int]] = {
    "quadratic": lambda place, layers: (layers - place + 1) ** 2 + (layers - place + 1),
    "linear_decay": lambda place, layers: layers - place + 1,
    "ascend": lambda place, layers: place**2 + place,
    "cubic": lambda place, layers: (layers - place + 1) ** 3,
}


@dataclass(frozen=True)
class SmartRatios:
    """How much each layer keeps.

    Attributes:
        ratios: Fraction of each layer's weights, float32 `[layers]`, at most 1; the excess over 1 went to other layers.
            The last one is the setting for the last layer.
        counts: Number of weights of each layer, int64 `[layers]`.
        goal: How many weights all layers but the last should keep.
        clipped: Positions, from 0, of the layers whose ratio was above 1 and was clipped.
        missing: How many of `goal` no layer has room for.
    """

    ratios: np.ndarray
    counts: np.ndarray
    goal: int
    clipped: tuple[int, ...]
    missing: int

    __repr__ = short_repr


@register_weight_criterion("smart_ratio")
@dataclass(frozen=True, kw_only=True)
class SmartRatio(WeightCriterion):
    """A decreasing fraction per layer, of random weights.

    The fraction depends on the layer's index and size only. Layers are numbered as in `main_path_order`; the last one
    is the classifier. What a layer would get beyond all its weights goes to others; `SmartRatioWarning` says if not all
    of it found room.

    Attributes:
        rule: How the ratio falls from layer to layer, see `smart_ratios`.
        treatment: `chain` divides the rule by the square of the layer's index, as the authors do for VGG; `residual`
            does not. Default: `residual` where the model adds tensors up.
        last_ratio: Fraction of the classifier that is kept.
        original_quirks: Keep a few weights too few, and lose the excess of later layers, as the authors' code does.
        seed: Seed of the draws.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), section 4.
    """

    rule: Rule = "quadratic"
    treatment: Treatment = "auto"
    last_ratio: float = 0.3
    original_quirks: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rule", self.rule, Rule)
        check_choice("treatment", self.treatment, Treatment)
        object.__setattr__(self, "last_ratio", number("last_ratio", self.last_ratio, at_least=0, at_most=1))
        self._require(iterations=1, scope="global", original_ties=False, revive=False)

    def ratios(self, model: keras.Model, density: float) -> dict[str, tuple[float, int]]:
        """Computes the fraction and the number of weights that each layer keeps, by name, in the rule's order.

        Args:
            model: A functional or sequential model, built.
            density: Fraction of all prunable weights to keep.

        Raises:
            ConfigError: The density cannot be met at all, see `smart_ratios`.
        """
        weights = main_path_order(model, ignore=self.ignore)
        found = self._found(model, weights, density)
        return {
            name: (float(ratio), int(count))
            for name, ratio, count in zip(weights, found.ratios, found.counts, strict=True)
        }

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`; only ranks within a layer matter."""
        return {
            name: tf.constant(layer_generator(self.seed, name).random(tuple(mask.shape)))
            for name, mask in masks.items()
        }

    def _prunable(self, model: keras.Model) -> Mapping[str, keras.Variable]:
        return main_path_order(model, ignore=self.ignore)

    def _counts(self, model: keras.Model, start: Masks, density: float | None, kept: int | None) -> np.ndarray:
        if density is None or kept is not None:
            raise ConfigError(f"criterion {self.name}: expected a density, received none or a number of weights")
        found = self._found(model, self._prunable(model), density)
        if found.missing:
            warnings.warn(SmartRatioWarning(density, int(found.counts.sum()), list(start)), stacklevel=3)
        for count, (name, (remaining, _)) in zip(found.counts, start.counts.items(), strict=True):
            if remaining < count:
                raise ConfigError(
                    f"masks: expected at least {count} weights of {name}, as the rule keeps so many, received "
                    f"{remaining}; leave out masks="
                )
        return found.counts[None, :]

    def _found(self, model: keras.Model, weights: Mapping[str, keras.Variable], density: float) -> SmartRatios:
        chain = not adds_branches(model) if self.treatment == "auto" else self.treatment == "chain"
        return smart_ratios(
            [int(np.prod(weight.shape)) for weight in weights.values()],
            density,
            rule=self.rule,
            divide_by_square=chain,
            last_ratio=self.last_ratio,
            original_quirks=self.original_quirks,
        )


def smart_ratios(
    sizes: Sequence[int],
    density: float,
    *,
    rule: Rule = "quadratic",
    divide_by_square: bool = True,
    last_ratio: float = 0.3,
    original_quirks: bool = False,
) -> SmartRatios:
    """Distributes a density over layers, with ratios that decrease from layer to layer.

    The arithmetic of the ratios is the authors', float32 step by step. Their whole numbers of weights leave the sum a
    few weights short, as fractions are cut off in every layer. Here the layers that lost most by that get one more
    each, until the sum is what the density keeps (`tfprune.ops.density.kept_count`).

    Args:
        sizes: Weights of each prunable layer, in the order of the model, the classifier last.
        density: Fraction of all weights to keep, above 0 and at most 1.
        rule: Base of layer l of L: `quadratic` (L-l+1)^2 + (L-l+1), `linear_decay` L-l+1, `ascend` l^2 + l, `cubic`
            (L-l+1)^3; `uniform` gives all layers the same ratio.
        divide_by_square: Divide the base by l^2, as the authors do for VGG and not for residual networks.
        last_ratio: Fraction of the last layer that is kept, whatever the density.
        original_quirks: Count as the authors' code does, to the weight, with fractions cut off; and stop passing on
            the excess over 1 as soon as there is none to pass on: the excess of later layers is lost then. Without it
            the excess goes to all layers with room. The authors' code takes p = 1 - density and computes 1 - p; where
            that differs in the last bit, so may the goal, by one.

    Returns:
        Ratios and counts.

    Raises:
        ConfigError: A number is out of range, or the last layer alone keeps more than the density allows.

    Example:
        >>> smart_ratios([100, 200, 200, 50], 0.2).counts.tolist()
        [69, 21, 5, 15]

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), section 4 and the authors' `SmartRatio`.
    """
    _check(sizes, density, rule, last_ratio)
    total = sum(sizes)
    if original_quirks:
        last = int(last_ratio * sizes[-1])
        goal = int(_F(total) * _F(density)) - last
    else:
        last = kept_count(sizes[-1], last_ratio) if last_ratio else 0
        goal = kept_count(total, density) - last
    if goal < 0:
        raise ConfigError(
            f"expected a density that leaves weights beside the {last} of the last layer, received {density:g} of "
            f"{total} weights; raise it, or lower the last layer's ratio"
        )
    convolutions = [int(size) for size in sizes[:-1]]
    if rule == "uniform":
        ratios = np.full(len(convolutions), _F(1) / _F(sum(convolutions)) * _F(goal))
    else:
        ratios = _by_rule(convolutions, len(sizes), goal, rule, divide_by_square)
    clipped = tuple(np.flatnonzero(ratios > 1).tolist())
    missing = 0
    if rule == "uniform":
        missing = int(max(0, goal - sum(convolutions)))
        ratios = np.minimum(ratios, 1)
    else:
        missing = _pass_on(ratios, convolutions, original=original_quirks)
    counts = [
        size if ratio >= 1 else int(ratio * ratio.dtype.type(size))
        for ratio, size in zip(ratios, convolutions, strict=True)
    ]
    if not original_quirks:
        counts = _filled_up(counts, ratios, convolutions, min(goal, sum(convolutions)))
        missing = max(0, goal - sum(convolutions))
    return SmartRatios(
        np.append(ratios, last_ratio).astype(_F), np.array([*counts, last], np.int64), goal, clipped, missing
    )


def _filled_up(counts: list[int], ratios: np.ndarray, sizes: list[int], goal: int) -> list[int]:
    """Changes counts one by one, that of the layer farthest from its ratio first, until their sum is the goal."""
    found, exact, room = np.array(counts), ratios.astype(np.float64) * sizes, np.array(sizes)
    while step := int(np.sign(goal - found.sum())):
        possible = found < room if step > 0 else found > 0
        found[np.argmax(np.where(possible, step * (exact - found), -np.inf))] += step
    return found.tolist()


def _by_rule(sizes: Sequence[int], layers: int, goal: int, rule: Rule, divide: bool) -> np.ndarray:
    """Returns ratios, some of them above 1, that add up to the goal."""
    bases = [_F(_BASES[rule](place, layers)) for place in range(1, layers)]
    squares = [_F(place**2 if divide else 1) for place in range(1, layers)]
    shares = sum(int(_F(size) * base / square) for size, base, square in zip(sizes, bases, squares, strict=True))
    if not shares:
        raise ConfigError("expected layers of more weights, received such that the rule gives all of them a share of 0")
    factor = _F(goal / shares)
    return np.array([base * factor / square for base, square in zip(bases, squares, strict=True)], _F)


def _pass_on(ratios: np.ndarray, sizes: Sequence[int], *, original: bool) -> int:
    """Clips ratios at 1, in place, and gives the excess to layers with room; returns what found none."""
    carry = 0
    if not original:
        for place, size in enumerate(sizes):
            if ratios[place] >= 1:
                carry += int((ratios[place] - _F(1)) * _F(size))
                ratios[place] = 1
    for place, size in enumerate(sizes):
        if ratios[place] >= 1:
            carry += int((ratios[place] - _F(1)) * _F(size))
            ratios[place] = 1
        else:
            room = int((_F(1) - ratios[place]) * _F(size))
            if room >= carry:
                ratios[place] += _F(1) / _F(size) * _F(carry)  # PyTorch divides a number by a tensor so
                carry = 0
            else:
                carry -= room
                ratios[place] = 1
        if carry == 0:
            break
    np.minimum(ratios, _F(1), out=ratios)
    return carry


def _check(sizes: Sequence[int], density: float, rule: str, last_ratio: float) -> None:
    check_choice("rule", rule, Rule)
    if len(sizes) < 2 or min(sizes) < 1:
        raise ConfigError(f"expected at least two layers with weights, received sizes {list(sizes)}; use magnitude")
    if not 0 < density <= 1:
        raise ConfigError(f"expected a density above 0 and at most 1, received {density!r}; to keep half, write 0.5")
    if not 0 <= last_ratio <= 1:
        raise ConfigError(f"expected a ratio of the last layer from 0 to 1, received {last_ratio!r}")


class SmartRatioWarning(UserWarning):
    """All layers but the last are full, and the density asks for more.

    Args:
        density: What was asked for.
        kept: How many weights are kept.
        names: The weights, in the rule's order.
    """

    def __init__(self, density: float, kept: int, names: Sequence[str]) -> None:
        super().__init__(
            f"no layer can meet the ratio that a density of {density:g} asks for: all but {names[-1]} keep all their "
            f"weights, which makes {kept:,}; raise the ratio of the last layer, or lower the density"
        )
        self.kept = kept


@register_weight_criterion("hybrid")
@dataclass(frozen=True, kw_only=True)
class Hybrid(SmartRatio):
    """The fractions of smart_ratio, of the largest weights.

    In the paper the magnitudes are those of a trained model, whose training goes on with the initial learning rates.

    Reference:
        Su et al., Sanity-Checking Pruning Methods (NeurIPS 2020), section 5; the authors' `--hybrid`.
    """

    def scores(self, model: keras.Model, masks: Tensors, data: CriterionData | None = None) -> dict[str, tf.Tensor]:
        """Scores the weights, see `WeightCriterion.scores`; only ranks within a layer matter."""
        return magnitudes(model, masks)
