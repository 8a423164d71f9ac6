"""How many weights a pruning keeps, round by round, and which: those with the highest scores, exactly counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.ops.density import kept_count, original_kept_count
from tfprune.ops.top_k import above_kth_of_all, exact_top_of_all

Schedule = Literal["exponential", "linear"]
Scope = Literal["global", "local"]


def keep_counts(
    sizes: Sequence[int],
    density: float | None,
    kept: int | None,
    *,
    iterations: int = 1,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    original: bool = False,
) -> np.ndarray:
    """Computes the numbers of weights to keep after each iteration.

    Args:
        sizes: How many weights each kernel has.
        density: Fraction to keep in the end.
        kept: Instead of a density, the number to keep.
        iterations: How many iterations.
        schedule: `exponential` removes the same fraction of the remaining weights each time, `linear` the same number.
        scope: `global` or `local`.
        original: Count in plain double precision, as the authors' code does, see `original_kept_count`; the rule is
            that of `kept_count` otherwise.

    Returns:
        Int64 `[iterations, 1]`; for scope `local` `[iterations, kernels]`.

    Raises:
        ConfigError: Not exactly one of density and kept is given, or it is out of range.

    Example:
        >>> keep_counts([100, 10], 0.25, None, iterations=2).tolist()
        [[55], [28]]

    Reference:
        Tanaka et al., SynFlow (NeurIPS 2020), section 6; Chen et al., Peek-a-Boo (ICLR 2022), the authors'
        `prune_loop`.
    """
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
    target = float(str(density))  # as it was written: float(np.float32(0.9)) is 0.8999999761581421
    times = [(step + 1) / iterations for step in range(iterations)]
    densities = [target**time if schedule == "exponential" else 1.0 - (1.0 - target) * time for time in times]
    count = original_kept_count if original else kept_count
    counts = np.array([[count(int(size), part) for size in parts] for part in densities], np.int64)
    if kept is not None:
        counts[-1] = kept
    if (counts < 1).any():
        raise ConfigError(f"density: expected one that keeps at least one weight, received {density!r}; raise it")
    return counts


def _density_of(kept: int, parts: np.ndarray) -> float:
    if len(parts) > 1:
        raise ConfigError(
            "kept: expected scope='global', received 'local', for which one number is not enough; give density"
        )
    if isinstance(kept, bool) or not isinstance(kept, (int, np.integer)) or not 1 <= kept <= parts[0]:
        raise ConfigError(f"kept: expected a whole number from 1 to {parts[0]}, received {kept!r}")
    return kept / int(parts[0])


@dataclass(frozen=True)
class Selection:
    """Keeps the weights with the highest scores.

    Attributes:
        original_ties: Keep none of those at the threshold.
        revive: Let pruned weights come back.
    """

    original_ties: bool = False
    revive: bool = False

    def __call__(
        self, scores: Mapping[str, tf.Tensor], masks: Mapping[str, tf.Tensor], kept: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Chooses the weights to keep. Can be traced.

        Args:
            scores: Scores by name, all of one type.
            masks: Bool tensors by name: what is not pruned yet.
            kept: How many to keep, `[1]` over all kernels, or `[kernels]`, int32.

        Returns:
            The new masks by name, and the sum and the maximum of each kernel's scores `[kernels, 2]`.
        """
        ranked = [self._ranked(score, masks[name]) for name, score in scores.items()]
        vectors = [tf.reshape(score, [-1]) for score in ranked]
        if kept.shape[0] == 1:
            marks = self._best(vectors, kept[0])
        else:
            marks = [self._best([vector], kept[index])[0] for index, vector in enumerate(vectors)]
        chosen = {
            name: tf.reshape(mark, score.shape) for mark, (name, score) in zip(marks, scores.items(), strict=True)
        }
        return chosen, summary(scores)

    def _ranked(self, score: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns the scores with pruned weights last."""
        return score if self.revive else tf.where(mask, score, score.dtype.min)

    def _best(self, scores: list[tf.Tensor], kept: tf.Tensor) -> list[tf.Tensor]:
        if self.original_ties:
            return above_kth_of_all(scores, tf.add_n([tf.size(vector) for vector in scores]) - kept)
        return exact_top_of_all(scores, kept)


def summary(scores: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns the sum and the maximum of each kernel's scores, `[kernels, 2]`.

    The sum is not finite if a score is not; both are 0 only if all scores are.
    """
    return tf.stack([[tf.reduce_sum(score), tf.reduce_max(score)] for score in scores.values()])
