"""Class-balanced subsets of the training images for a search.

A search compares candidates by their loss on the validation subset, after a short training on the training subset.
Both are cut from the training images, so that the test images are not used.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tfprune.arguments import instance, seed_number, whole_number
from tfprune.errors import ConfigError
from tfprune.recipes.data.dataset import IMAGES, ImageDataset
from tfprune.reprs import short_repr

_LOOKED_UP_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Subsets:
    """Positions in the training images, in the order of their use.

    Args:
        validation: `[classes * validation_per_class]`, int64: to compare candidates.
        training: `[classes * training_per_class]` or fewer, int64, disjoint from `validation`: for the short training
            before the search.
    """

    validation: np.ndarray
    training: np.ndarray

    __repr__ = short_repr


def search_subsets(
    data: ImageDataset, *, validation_per_class: int = 32, training_per_class: int = 256, seed: int = 1
) -> Subsets:
    """Cuts two class-balanced, disjoint subsets from the training images.

    `validation` contains the last images of each class in file order (reversed), `training` the first ones. These are
    joined in the order of the classes, then each subset is shuffled by a generator with this seed. If a class has too
    few images, `training` gets those that are not in `validation`. Labels are only read as far as needed from either
    end.

    Args:
        data: The data set.
        validation_per_class: Images per class for `validation`.
        training_per_class: Images per class for `training`, at most.
        seed: Seed of the two permutations.

    Returns:
        The subsets.

    Raises:
        ConfigError: A number is not positive, or a class has no more than `validation_per_class` images.

    Reference:
        Lee & Song, EKG (ECCV 2022), the authors' `pruning.py` and `dataloader/CIFAR.py`; same positions at seed 1.
    """
    instance("data", data, ImageDataset, IMAGES)
    validation_per_class = whole_number("validation_per_class", validation_per_class)
    training_per_class, seed = whole_number("training_per_class", training_per_class), seed_number(seed)
    validation = _first_of_each_class(data, validation_per_class, backwards=True)
    taken = {position for positions in validation for position in positions}
    training = _first_of_each_class(data, training_per_class, without=taken)
    for label, (last, first) in enumerate(zip(validation, training, strict=True)):
        if len(last) < validation_per_class or not first:
            raise ConfigError(
                f"expected more than {validation_per_class} training images in every class of {data.name}, found "
                f"{len(last)} in class {label}; use fewer validation images per class"
            )
    return Subsets(validation=_shuffled(validation, seed), training=_shuffled(training, seed))


def _first_of_each_class(
    data: ImageDataset, count: int, *, backwards: bool = False, without: Collection[int] = ()
) -> list[list[int]]:
    """Returns positions of the first images of each class, or of the last ones; reads no more labels than needed."""
    found: list[list[int]] = [[] for _ in range(data.num_classes)]
    missing = data.num_classes * count
    order = np.arange(data.train_examples)[:: -1 if backwards else 1]
    for start in range(0, len(order), _LOOKED_UP_AT_ONCE):
        some = order[start : start + _LOOKED_UP_AT_ONCE]
        for position, label in zip(some.tolist(), data.train_labels_at(some).tolist(), strict=True):
            if 0 <= label < len(found) and len(found[label]) < count and position not in without:
                found[label].append(position)
                missing -= 1
        if not missing:
            break
    return found


def _shuffled(blocks: Sequence[Sequence[int]], seed: int) -> np.ndarray:
    """Joins the classes and shuffles them by the legacy generator, as the original does after np.random.seed."""
    positions = np.concatenate([np.asarray(block, np.int64) for block in blocks])
    np.random.RandomState(seed).shuffle(positions)
    return positions
