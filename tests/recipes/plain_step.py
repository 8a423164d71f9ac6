"""A training step as one would write it by hand, for comparison with recorded ones."""

import tensorflow as tf


def plain_step(model, optimizer):
    """Trains a model on images and labels, `step(images, labels)`, and gives the loss before the update."""
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return step
