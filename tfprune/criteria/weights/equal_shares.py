"""The same fraction of everything, in whole numbers."""

import numpy as np


def equal_shares(sizes: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """Divides a number among units in proportion to their sizes, as nearly as whole numbers can.

    Args:
        sizes: Of the units, `[units]`.
        room: How much each can take at most, `[units]`; what is too much for one goes to the others.
        total: What to divide, at most the sum of the room.

    Returns:
        Whole numbers, `[units]`, whose sum is the total; of equal remainders the first ones are rounded up.

    Example:
        >>> equal_shares(np.array([4, 4, 2]), np.array([4, 1, 2]), 5).tolist()
        [3, 1, 1]
    """
    full = room <= 0
    while True:
        rate = (total - room[full].sum()) / max(1, sizes[~full].sum())
        over = ~full & (room < rate * sizes)
        if not over.any():
            break
        full |= over
    quotas = np.where(full, room, rate * sizes)
    shares = np.floor(quotas + 1e-9).astype(np.int64)
    largest = np.argsort(shares - quotas, kind="stable")
    shares[largest[: int(total) - int(shares.sum())]] += 1
    return shares
