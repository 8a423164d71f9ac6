"""The two small parts of the training images that a search works with."""

from dataclasses import dataclass

import numpy as np

from tfprune.data.image_arrays import ImageArrays
from tfprune.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Subsets:
    """Positions in the training images, in the order to use them.

    Args:
        validation: `[classes * validation_per_class]`, int64: what candidates are judged by.
        training: `[classes * training_per_class]` or fewer, int64, disjoint from `validation`: for the short training
            before the search.
    """

    validation: np.ndarray
    training: np.ndarray


def search_subsets(
    data: ImageArrays, *, validation_per_class: int = 32, training_per_class: int = 256, seed: int = 1
) -> Subsets:
    """Cuts two class-balanced, disjoint subsets from the training images.

    Of each class, in file order, `validation` takes the last images (in reverse order) and `training` the first ones.
    The blocks are joined in the order of the classes, then each subset is shuffled once by a generator of this seed.
    Where a class has too few images, `training` gets what `validation` leaves.

    Args:
        data: The data set.
        validation_per_class: Images per class for `validation`.
        training_per_class: Images per class for `training`, at most.
        seed: Seed of the two permutations.

    Returns:
        The subsets.

    Raises:
        ConfigError: A number is not positive, or a class has not more than `validation_per_class` images.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `pruning.py` and `dataloader/CIFAR.py`; same positions at seed 1.
    """
    if min(validation_per_class, training_per_class) < 1:
        raise ConfigError(
            "expected at least one image per class for each subset, received "
            f"{validation_per_class} for validation and {training_per_class} for training; use positive numbers"
        )
    validation, training = [], []
    for label in range(data.num_classes):
        positions = np.flatnonzero(data.train_labels == label)
        if len(positions) <= validation_per_class:
            raise ConfigError(
                f"expected more than {validation_per_class} training images in every class of {data.name}, found "
                f"{len(positions)} in class {label}; use fewer validation images per class"
            )
        validation.append(positions[-validation_per_class:][::-1])
        training.append(positions[: min(training_per_class, len(positions) - validation_per_class)])
    return Subsets(validation=_shuffled(validation, seed), training=_shuffled(training, seed))


def _shuffled(blocks: list[np.ndarray], seed: int) -> np.ndarray:
    # The legacy generator, started anew for each subset: the permutations the original draws after np.random.seed.
    positions = np.concatenate(blocks)
    np.random.RandomState(seed).shuffle(positions)
    return positions
