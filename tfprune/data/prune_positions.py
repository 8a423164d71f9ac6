"""Which training images a pruning criterion looks at."""

from collections.abc import Callable

import numpy as np

from tfprune.errors import ConfigError

_LOOKED_UP_AT_ONCE = 1024


def prune_positions(
    examples: int,
    num_classes: int,
    labels: Callable[[np.ndarray], np.ndarray],
    count: int,
    *,
    balanced: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Draws positions of training images without repetition.

    Args:
        examples: Number of training images.
        num_classes: Number of classes.
        labels: Gives the labels of positions; only asked if `balanced`, and only as far as needed.
        count: How many to draw.
        balanced: Take equally many of each class; a remainder goes to classes that are drawn, too.
        seed: Seed of the draws.

    Returns:
        `[count]`, int64, in random order.

    Raises:
        ConfigError: There are not as many images, or not as many of a class.
    """
    if not 1 <= count <= examples:
        raise ConfigError(f"expected 1 to {examples} images to prune by, as there are to train on, received {count}")
    generator = np.random.default_rng(seed)
    order = generator.permutation(examples)
    if not balanced:
        return order[:count]
    wanted = np.full(num_classes, count // num_classes)
    wanted[generator.permutation(num_classes)[: count % num_classes]] += 1
    left, chosen = wanted.copy(), []
    for start in range(0, examples, _LOOKED_UP_AT_ONCE):
        some = order[start : start + _LOOKED_UP_AT_ONCE]
        for position, label in zip(some, labels(some), strict=True):
            if left[label]:
                left[label] -= 1
                chosen.append(position)
        if not left.any():
            return np.asarray(chosen, np.int64)
    label = int(np.argmax(left))
    raise ConfigError(
        f"expected {wanted[label]} training images in every class to prune by, found {wanted[label] - left[label]} in "
        f"class {label}; use fewer images, or not as many from each class"
    )
