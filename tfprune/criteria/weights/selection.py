"""From scores to masks."""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfprune.criteria.weights.pruning_amounts import Scope
from tfprune.ops.exact_top import above_kth_of_all, exact_top_of_all


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
