"""Criteria that weigh each weight by the inputs that it is multiplied with: Wanda and RIA."""

from dataclasses import dataclass

import numpy as np

from tfprune.arguments import number
from tfprune.criteria.moments import InputMoments
from tfprune.criteria.weights.criterion import register_weight_criterion
from tfprune.criteria.weights.layerwise import LayerwiseCriterion, highest, in_pattern


@register_weight_criterion("wanda")
@dataclass(frozen=True, kw_only=True)
class Wanda(LayerwiseCriterion):
    """Absolute weight times the norm of its input, compared within each output channel.

    The score of weight w_ij is |w_ij| |x_j|, where |x_j| is the root mean square of input j over examples and
    positions; the paper's norm differs by a factor that all weights share. Every output channel keeps the same
    fraction.

    Attributes:
        pattern: See `LayerwiseCriterion`.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc", kernel_initializer="ones")])
        >>> masks = Wanda()(model, 0.5, (np.diag([1.0, 4.0, 2.0, 3.0]), np.zeros(4)))
        >>> masks["fc/kernel"].T.astype(int).tolist()
        [[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 1]]

    Reference:
        Sun et al., A Simple and Effective Pruning Approach for Large Language Models (ICLR 2024; arXiv
        2306.11695, 2023).
    """

    def _scored(self, weights: np.ndarray, moments: InputMoments) -> np.ndarray:
        return np.abs(weights) * np.sqrt(moments.squares)[:, None]

    def _by_part(self, marks: np.ndarray) -> np.ndarray:
        return marks.sum(axis=2).ravel()

    def _solved(
        self, weights: np.ndarray, moments: InputMoments, left: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        scores = self._scored(weights, moments)
        if self.pattern is not None:
            return in_pattern(scores, self.pattern), weights
        rows = len(shares), -1
        return highest(scores.reshape(rows), left.reshape(rows), shares).reshape(scores.shape), weights


@register_weight_criterion("ria")
@dataclass(frozen=True, kw_only=True)
class RIA(Wanda):
    """Share of a weight in its output and in its input, times a power of the norm of its input.

    The score of weight w_ij is (|w_ij| / sum_k |w_ik| + |w_ij| / sum_k |w_kj|) |x_j|^a, with the norm of `Wanda`. All
    weights of a kernel are compared; with a pattern, those of each m. The paper's permutation of channels, which makes
    patterns lose less, is not done.

    Attributes:
        power: The exponent a.
        pattern: See `LayerwiseCriterion`.

    Reference:
        Zhang et al., Plug-and-Play: An Efficient Post-Training Pruning Method for Large Language Models (ICLR 2024).
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "power", number("power", self.power, at_least=0))

    def _scored(self, weights: np.ndarray, moments: InputMoments) -> np.ndarray:
        sizes = np.abs(weights)
        of_output, of_input = (sizes.sum(axis=axis, keepdims=True) for axis in (2, 1))
        shares = sizes / np.where(of_output > 0, of_output, 1) + sizes / np.where(of_input > 0, of_input, 1)
        return shares * np.sqrt(moments.squares)[:, None] ** self.power

    def _by_part(self, marks: np.ndarray) -> np.ndarray:
        return marks.sum(keepdims=True).ravel()
