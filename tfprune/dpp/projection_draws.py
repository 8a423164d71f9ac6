"""The second half of a k-DPP: subsets drawn from projections, many at a time."""

import tensorflow as tf

PROPOSALS = 12
"""Items proposed to every draw before the probabilities are brought up to date."""


def projection_draws(bases: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws one subset from each of many projection DPPs.

    The next item has a probability proportional to the squared distance of its vector to the span of those of the items
    drawn before. Instead of all distances after every item, they are computed after every few: items are proposed
    with the old distances and accepted with the ratio of new to old, which is exact, as distances only fall. All the
    work on whole bases is matrix products.

    Args:
        bases: Orthonormal rows, float64 `[draws, k, items]`.
        seed: Two integers.

    Returns:
        Int32 `[draws, k]`, the items in the order in which they were drawn.

    Reference:
        Hough et al., Determinantal processes and independence (2006), algorithm 18; rejection as in Barthelmé et al.,
        A faster sampler for discrete determinantal point processes (AISTATS 2023).
    """
    draws, size = bases.shape[0], bases.shape[1]
    distances = tf.reduce_sum(tf.square(bases), 1)
    span = tf.zeros([draws, size, size], tf.float64)
    items = tf.zeros([draws, size], tf.float64)
    counts = tf.zeros([draws], tf.int32)

    def step(
        turn: tf.Tensor, counts: tf.Tensor, items: tf.Tensor, span: tf.Tensor, distances: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        uniforms = tf.random.stateless_uniform(
            [2, draws, PROPOSALS], seed + tf.stack([0, turn]), dtype=tf.float64, alg="philox"
        )
        proposed = _proposed(distances, uniforms[0])
        old = tf.gather(distances, proposed, axis=1, batch_dims=1)
        vectors = tf.gather(bases, proposed, axis=2, batch_dims=1)
        vectors -= tf.matmul(span, tf.matmul(span, vectors), transpose_a=True)
        accepted, factor = _accepted(tf.matmul(vectors, vectors, transpose_a=True), uniforms[1] * old, size - counts)
        added = _orthonormal(vectors, factor, accepted)
        place = counts[:, None] + tf.cumsum(tf.cast(accepted, tf.int32), axis=1) - 1
        where = tf.one_hot(tf.where(accepted, place, -1), size, dtype=tf.float64)
        span += tf.matmul(where, added, transpose_a=True)
        items += tf.reduce_sum(where * tf.cast(proposed, tf.float64)[:, :, None], 1)
        counts += tf.reduce_sum(tf.cast(accepted, tf.int32), 1)
        distances -= tf.reduce_sum(tf.square(tf.matmul(added, bases)), 1)
        return turn + 1, counts, items, span, _without(tf.maximum(distances, 0.0), proposed, accepted)

    items = tf.while_loop(
        lambda turn, counts, *_: tf.reduce_any(counts < size), step, [0, counts, items, span, distances]
    )[2]
    return tf.cast(items, tf.int32)


def _proposed(distances: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Items with probability proportional to their distance, `[draws, PROPOSALS]`."""
    sums = tf.cumsum(distances, axis=1)
    found = tf.searchsorted(sums, uniforms * sums[:, -1:], side="right")
    return tf.minimum(found, distances.shape[1] - 1)


def _accepted(products: tf.Tensor, thresholds: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which proposals are taken, one after the other, and the Cholesky factor of those.

    Args:
        products: Inner products of the proposals' vectors, `[draws, PROPOSALS, PROPOSALS]`.
        thresholds: What a squared distance must exceed, `[draws, PROPOSALS]`.
        room: How many items each draw lacks, `[draws]`.

    Returns:
        Bool `[draws, PROPOSALS]`, and `[draws, PROPOSALS, PROPOSALS]` whose columns of refused proposals are zero.
    """
    taken, columns = [], []
    for turn in range(PROPOSALS):
        distance = products[:, turn, turn]
        take = (thresholds[:, turn] < distance) & (room > 0)
        room -= tf.cast(take, tf.int32)
        scale = tf.where(take, tf.math.rsqrt(tf.where(take, distance, tf.ones_like(distance))), 0.0)
        column = products[:, :, turn] * scale[:, None]
        products -= column[:, :, None] * column[:, None, :]
        taken.append(take)
        columns.append(column)
    return tf.stack(taken, 1), tf.stack(columns, 2)


def _orthonormal(vectors: tf.Tensor, factor: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Orthonormal rows that span what the accepted vectors span, zero for the others, `[draws, PROPOSALS, k]`."""
    rows = tf.cast(accepted, tf.float64)
    system = tf.linalg.band_part(factor, -1, 0) * rows[:, :, None] + tf.linalg.diag(1.0 - rows)
    return tf.linalg.triangular_solve(system, tf.linalg.matrix_transpose(vectors) * rows[:, :, None])


def _without(distances: tf.Tensor, proposed: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Distances that are exactly 0 for items which were just taken, so that rounding cannot bring them back."""
    draws = tf.broadcast_to(tf.range(proposed.shape[0])[:, None], proposed.shape)
    limit = tf.where(accepted, tf.zeros_like(distances[:, :1]), tf.fill([1, 1], tf.constant(float("inf"), tf.float64)))
    return tf.tensor_scatter_nd_min(distances, tf.stack([draws, proposed], 2), limit)
