"""The second half of a k-DPP: subsets drawn from projections, many at a time."""

import numpy as np
import tensorflow as tf

PROPOSALS = 12
"""Items proposed to every draw before the probabilities are brought up to date."""

_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def projection_draws(vectors: tf.Tensor, chosen: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws one subset from each of many projection DPPs.

    The next item has a probability proportional to the squared distance of its vector to the span of those of the items
    drawn before. Instead of all distances after every item, bounds of them are computed after every few, in float32 and
    rounded up: items are proposed with the bounds and accepted with the ratio of distance to bound, in float64. That is
    exact, as distances only fall. All the work on whole bases is matrix products.

    Args:
        vectors: Orthonormal rows, float64 `[kernels, items, items]`.
        chosen: Which of them span the projections, int32 `[kernels, draws, k]`.
        seed: Two integers.

    Returns:
        Int32 `[kernels, draws, k]`, the items in the order in which they were drawn.

    Reference:
        Hough et al., Determinantal processes and independence (2006), algorithm 18; rejection as in Barthelmé et al.,
        A faster sampler for discrete determinantal point processes (AISTATS 2023).
    """
    (kernels, draws, size), items = chosen.shape, vectors.shape[2]
    count = kernels * draws
    slack = tf.constant(_ROUNDING * size, tf.float32)
    bases = tf.gather(tf.cast(vectors, tf.float32), chosen, axis=1, batch_dims=1)
    bases = tf.reshape(bases, [count, size, items])
    by_item = tf.reshape(tf.transpose(vectors, [0, 2, 1]), [kernels, -1])
    numbers = tf.repeat(tf.range(count)[:, None], PROPOSALS, axis=1)

    def step(
        turn: tf.Tensor, counts: tf.Tensor, found: tf.Tensor, span: tf.Tensor, bounds: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        uniforms = tf.random.stateless_uniform(
            [2, count, PROPOSALS], seed + tf.stack([0, turn]), dtype=tf.float64, alg="philox"
        )
        proposed = _proposed(bounds, uniforms[0])
        thresholds = uniforms[1] * tf.cast(tf.gather(bounds, proposed, axis=1, batch_dims=1), tf.float64)
        places = tf.reshape(proposed, [kernels, draws, PROPOSALS, 1]) * items + chosen[:, :, None, :]
        rows = tf.gather(by_item, tf.reshape(places, [kernels, -1]), axis=1, batch_dims=1)
        rows = tf.reshape(rows, [count, PROPOSALS, size])
        rows -= tf.matmul(tf.matmul(rows, span, transpose_b=True), span)
        accepted, factor = _accepted(tf.matmul(rows, rows, transpose_b=True), thresholds, size - counts)
        added = _orthonormal(rows, factor, accepted)
        place = counts[:, None] + tf.cumsum(tf.cast(accepted, tf.int32), axis=1) - 1
        where = tf.stack([numbers, tf.where(accepted, place, size)], 2)  # one place more, for what is refused
        lower = bounds - tf.reduce_sum(tf.square(tf.matmul(tf.cast(added, tf.float32), bases)), 1)
        bounds = tf.where(bounds > 0, tf.maximum(lower, slack), 0.0)  # 0: items that are taken
        bounds = _without(bounds, proposed, accepted)
        counts += tf.reduce_sum(tf.cast(accepted, tf.int32), 1)
        found = tf.tensor_scatter_nd_update(found, where, proposed)
        return turn + 1, counts, found, tf.tensor_scatter_nd_update(span, where, added), bounds

    start = (
        tf.zeros([count], tf.int32),
        tf.zeros([count, size + 1], tf.int32),
        tf.zeros([count, size + 1, size], tf.float64),
        tf.reduce_sum(tf.square(bases), 1) + slack,
    )
    found = tf.while_loop(lambda turn, counts, *_: tf.reduce_any(counts < size), step, [0, *start])[2]
    return tf.reshape(found[:, :size], chosen.shape)


def _proposed(bounds: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Items with probability proportional to their bound, `[draws, PROPOSALS]`."""
    sums = tf.cumsum(tf.cast(bounds, tf.float64), axis=1)
    found = tf.searchsorted(sums, uniforms * sums[:, -1:], side="right")
    return tf.minimum(found, bounds.shape[1] - 1)


def _accepted(products: tf.Tensor, thresholds: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which proposals are taken, one after the other, and the Cholesky factor of those.

    Args:
        products: Inner products of the proposals' vectors, `[draws, PROPOSALS, PROPOSALS]`.
        thresholds: What a squared distance must exceed, `[draws, PROPOSALS]`.
        room: How many items each draw lacks, `[draws]`.

    Returns:
        Bool `[draws, PROPOSALS]`, and `[draws, PROPOSALS, PROPOSALS]` whose columns of refused proposals are zero.
    """

    def step(turn: tf.Tensor, products: tf.Tensor, room: tf.Tensor, *found: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        column = products[:, :, turn]
        distance = column[:, turn]
        take = (thresholds[:, turn] < distance) & (room > 0)
        scale = tf.where(take, tf.math.rsqrt(tf.where(take, distance, tf.ones_like(distance))), 0.0)
        column *= scale[:, None]
        products -= column[:, :, None] * column[:, None, :]
        room -= tf.cast(take, tf.int32)
        return turn + 1, products, room, found[0].write(turn, take), found[1].write(turn, column)

    taken = tf.TensorArray(tf.bool, PROPOSALS, element_shape=room.shape)
    columns = tf.TensorArray(tf.float64, PROPOSALS, element_shape=thresholds.shape)
    state = tf.while_loop(lambda turn, *_: turn < PROPOSALS, step, [0, products, room, taken, columns])
    return tf.transpose(state[3].stack()), tf.transpose(state[4].stack(), [1, 2, 0])


def _orthonormal(rows: tf.Tensor, factor: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Orthonormal rows that span what the accepted ones span, zero for the others, `[draws, PROPOSALS, k]`."""
    kept = tf.cast(accepted, tf.float64)
    system = tf.linalg.band_part(factor, -1, 0) * kept[:, :, None] + tf.linalg.diag(1.0 - kept)
    return tf.linalg.triangular_solve(system, rows * kept[:, :, None])


def _without(bounds: tf.Tensor, proposed: tf.Tensor, accepted: tf.Tensor) -> tf.Tensor:
    """Bounds that are exactly 0 for items which were just taken, so that rounding cannot bring them back."""
    draws = tf.broadcast_to(tf.range(proposed.shape[0])[:, None], proposed.shape)
    limit = tf.where(accepted, tf.zeros_like(bounds[:, :1]), tf.fill([1, 1], tf.constant(float("inf"))))
    return tf.tensor_scatter_nd_min(bounds, tf.stack([draws, proposed], 2), limit)
