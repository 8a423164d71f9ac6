"""The first half of a k-DPP: which eigenvectors span the projection that the subset is drawn from."""

import tensorflow as tf


def chosen_eigenvectors(log_values: tf.Tensor, table: tf.Tensor, uniforms: tf.Tensor) -> tf.Tensor:
    """Draws k eigenvectors, a set with probability proportional to the product of its eigenvalues.

    Args:
        log_values: Logarithms of the eigenvalues, float64 `[kernels, values]`.
        table: Their polynomials up to order k, `[values + 1, kernels, k + 1]`, see `log_elementary_symmetric`.
        uniforms: Float64 `[values, kernels, draws]` between 0 and 1, of which each decides about one eigenvector.

    Returns:
        Int32 `[kernels, draws, k]`, the eigenvectors of each draw, ascending.

    Reference:
        Kulesza and Taskar, Determinantal point processes for machine learning (2012), algorithm 8.
    """
    count, size = log_values.shape[1], table.shape[2] - 1
    taken = tf.TensorArray(tf.bool, count, element_shape=[uniforms.shape[1], uniforms.shape[2]])
    left = tf.fill(tf.shape(uniforms)[1:], size)

    def step(n: tf.Tensor, left: tf.Tensor, taken: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        without = tf.gather(table[n], tf.maximum(left - 1, 0), axis=1, batch_dims=1)
        all_ways = tf.gather(table[n + 1], left, axis=1, batch_dims=1)
        take = (left > 0) & (uniforms[n] < tf.exp(log_values[:, n, None] + without - all_ways))
        return n - 1, left - tf.cast(take, tf.int32), taken.write(n, take)

    taken = tf.while_loop(lambda n, *_: n >= 0, step, [count - 1, left, taken])[2]
    mask = tf.transpose(taken.stack(), [1, 2, 0])
    return tf.math.top_k(tf.cast(mask, tf.int32), size).indices  # equal values come in the order of their places
