"""Training in float16."""

import keras


def loss_scaled(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """What trains a network of a number format: in float16 small gradients vanish unless the loss is scaled up.

    Args:
        optimizer: What trains it otherwise.
        precision: Keras' data type policy of the layers.

    Returns:
        The optimizer; for `mixed_float16` inside Keras' `LossScaleOptimizer`, which finds the scale, and leaves out
        steps whose gradients overflow.

    Example:
        >>> loss_scaled(keras.optimizers.SGD(), "mixed_float16").name
        'loss_scale_optimizer'

    Reference:
        Micikevicius et al., "Mixed Precision Training" (ICLR 2018), section 3.2.
    """
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
