"""The order of the training examples: who is in the batch of each step."""

import tensorflow as tf


def shuffled_steps(examples: int, *, batch_size: int, epochs: int, seed: int, start_step: int = 0) -> tf.data.Dataset:
    """For every step its number and the examples of its batch.

    Each epoch has a permutation that depends on the seed and the epoch alone, so a sequence can begin at any step,
    without anything being produced for the steps before. The remainder that fills no batch is left out.

    Args:
        examples: Number of training examples.
        batch_size: Examples per step.
        epochs: Epochs of the whole sequence.
        seed: Seed of the permutations.
        start_step: Step, counted over all epochs, to begin at.

    Returns:
        Elements `(step, positions)`: an int64 scalar and `[batch_size]`, int64.
    """
    per_epoch = examples // batch_size

    def epoch_steps(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        order = tf.random.experimental.stateless_shuffle(tf.range(examples, dtype=tf.int64), key)
        skipped = tf.maximum(start_step - epoch * per_epoch, 0)
        batches = tf.reshape(order[: per_epoch * batch_size], [per_epoch, batch_size])[skipped:]
        steps = tf.range(epoch * per_epoch + skipped, (epoch + 1) * per_epoch)
        return tf.data.Dataset.from_tensor_slices((steps, batches))

    steps = tf.data.Dataset.range(start_step // per_epoch, epochs).flat_map(epoch_steps)
    return steps.apply(tf.data.experimental.assert_cardinality(epochs * per_epoch - start_step))
