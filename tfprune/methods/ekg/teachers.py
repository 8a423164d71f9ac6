"""Which interim sub-networks of a search become teachers."""

from collections.abc import Sequence

import numpy as np

_USED = 1e6


def choose_teachers(losses: Sequence[float] | np.ndarray, count: int, *, original_quirks: bool = False) -> list[int]:
    """Picks teachers whose losses are spread evenly from the least to the greatest.

    The wanted losses are `min + j (max - min) / count` for `j = 0 .. count - 1`; for each in turn the nearest entry
    that is not taken yet is picked.

    Args:
        losses: Label loss of each entry of a search's history.
        count: Teachers wanted.
        original_quirks: Step through the wanted losses as the original does, which now and then gives a teacher too
            many, and repeats the first entry where there are fewer entries than teachers.

    Returns:
        Indices into `losses`, the least loss first; at most as many as there are entries.

    Reference:
        Lee & Song, EKG (ECCV 2022), memory bank: interpolation between the losses of the found and the full network.
    """
    losses = np.asarray(losses)
    order = np.argsort(losses)
    ascending = losses[order] + (np.arange(len(losses)) * 1e-12).astype(losses.dtype)
    low, high = ascending.min(), ascending.max()
    if original_quirks and high > low:
        wanted = np.arange(low, high, (high - low) / count)
    else:
        wanted = low + (high - low) / count * np.arange(min(count, len(losses)))
    chosen = []
    for loss in wanted:
        nearest = int(np.argmin(np.abs(ascending - loss)))
        chosen.append(int(order[nearest]))
        ascending[nearest] = _USED
    return chosen
