"""When to prune, and how far."""

from tfprune.recipes.peekaboo.config import PeekabooConfig


def shots(config: PeekabooConfig) -> dict[int, float]:
    """The prunings of a training.

    They are evenly spaced, the last one before epoch `prune_epoch`, and take away equally many weights each.

    Args:
        config: Uses `density`, `prune_epoch`, `prune_shots`.

    Returns:
        From an epoch, counted from 0, to the density that pruning before it leaves; empty if nothing is pruned.

    Example:
        >>> shots(PeekabooConfig(density=0.2, prune_epoch=10, prune_shots=2))
        {5: 0.6, 10: 0.2}

    Reference:
        The authors' `main_cifar.py`, where several shots before the first epoch stop after one; here that is an error.
    """
    if not config.prunes:
        return {}
    interval = config.prune_epoch // config.prune_shots
    early = {
        shot * interval: 1 - (1 - config.density) * shot / config.prune_shots for shot in range(1, config.prune_shots)
    }
    return early | {config.prune_shots * interval: config.density}  # exactly so, whatever the rounding before
