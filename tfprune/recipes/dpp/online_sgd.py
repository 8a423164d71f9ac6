"""Stochastic gradient descent of a student, one example a step."""

import math

import tensorflow as tf


@tf.function(jit_compile=True, autograph=False)
def online_sgd(
    weights: tf.Tensor,
    outgoing: tf.Tensor,
    inputs: tf.Tensor,
    labels: tf.Tensor,
    rate: tf.Tensor,
    nonlinearity: str = "erf",
    train_outgoing: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Takes a step for each example, compiled as one loop.

    W_i -= rate / sqrt N (y' - y) v_i g'(h_i) x and v_i -= rate / N (y' - y) g(h_i), both from the old values.

    Args:
        weights: W, float32 `[hidden, inputs]`.
        outgoing: v, `[hidden]`.
        inputs: `[examples, inputs]`.
        labels: `[examples]`.
        rate: Learning rate.
        nonlinearity: `erf`, `sigmoid` or `relu`.
        train_outgoing: Whether v learns; it does not in a soft committee machine.

    Returns:
        W, v, and the mean of half the squared errors before each step.

    Reference:
        Goldt et al., Dynamics of stochastic gradient descent (NeurIPS 2019), equation 2.
    """
    size = weights.shape[1]
    root = tf.constant(math.sqrt(size), tf.float32)

    def step(i: tf.Tensor, w: tf.Tensor, v: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = inputs[i]
        fields = tf.linalg.matvec(w, x) / root
        signal, slope = _signal(fields, nonlinearity)
        error = tf.reduce_sum(v * signal) - labels[i]
        new = w - (rate / root * error) * (v * slope)[:, None] * x[None, :]
        if train_outgoing:
            v -= (rate / size * error) * signal
        return i + 1, new, v, total + error * error / 2

    count = tf.shape(inputs)[0]
    _, weights, outgoing, total = tf.while_loop(lambda i, *_: i < count, step, [0, weights, outgoing, 0.0])
    return weights, outgoing, total / tf.cast(count, tf.float32)


def _signal(fields: tf.Tensor, nonlinearity: str) -> tuple[tf.Tensor, tf.Tensor]:
    """The activation and its slope."""
    if nonlinearity == "relu":
        return tf.nn.relu(fields), tf.cast(fields > 0, tf.float32)
    if nonlinearity == "sigmoid":
        signal = tf.sigmoid(fields)
        return signal, signal * (1 - signal)
    return tf.math.erf(fields / math.sqrt(2)), math.sqrt(2 / math.pi) * tf.exp(-tf.square(fields) / 2)
