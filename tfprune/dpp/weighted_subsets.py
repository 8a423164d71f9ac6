"""Random subsets of a fixed size of independent items: which eigenvectors a k-DPP uses, or which items to propose."""

import tensorflow as tf


def taking_chances(log_weights: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Probabilities to take an item, if a number of items is still to be taken from it and those before it.

    Args:
        log_weights: Logarithms of the weights, float64 `[sets, items]`.
        table: Their elementary symmetric polynomials, `[items + 1, sets, k + 1]`, see `log_elementary_symmetric`.

    Returns:
        Float64 `[items, sets, k + 1]`; NaN for numbers that are impossible.
    """
    chances = tf.exp(tf.transpose(log_weights)[:, :, None] + table[:-1, :, :-1] - table[1:, :, 1:])
    return tf.concat([tf.zeros_like(chances[:, :, :1]), chances], 2)


def weighted_subsets(chances: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draws subsets of k items, each with a probability proportional to the product of its items' weights.

    Args:
        chances: See `taking_chances`, `[items, sets, k + 1]`.
        uniforms: Float64 `[items, sets, draws]` between 0 and 1, of which each decides about one item.

    Returns:
        Int32 `[sets, draws, k]`, the items of each subset, ascending.

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), algorithm 8.
    """
    count, sets, columns = chances.shape
    rows = tf.reshape(chances, [count, sets * columns])
    start = tf.fill([sets, uniforms.shape[2]], columns - 1) + columns * tf.range(sets)[:, None]
    taken = tf.TensorArray(tf.bool, count, element_shape=start.shape)

    def step(n: tf.Tensor, place: tf.Tensor, taken: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        take = uniforms[n] < tf.gather(rows[n], place)  # place: how many are left, along with the set
        return n - 1, place - tf.cast(take, tf.int32), taken.write(n, take)

    taken = tf.while_loop(lambda n, *_: n >= 0, step, [count - 1, start, taken])[2]
    mask = tf.transpose(taken.stack(), [1, 2, 0])
    return tf.math.top_k(tf.cast(mask, tf.int32), columns - 1).indices  # equal values come in the order of their places
