"""Which gates a search step tries: those whose next decrement would cost little importance."""

from collections.abc import Sequence

import numpy as np

from tfprune.methods.ekg.gates import Gates

_TRIMMED = 0.2


def removable_importance(scores: np.ndarray, gates: Gates, rates: np.ndarray, *, whole: bool = False) -> np.ndarray:
    """Importance that each gate would lose by its next decrement.

    Args:
        scores: Importance of all channels `[channels]`.
        gates: The gates.
        rates: Fraction of channels kept, per gate.
        whole: Do as the original's code does: its slice runs over the wrong axis, so that an unpruned gate counts all
            its importance, and a pruned one none.

    Returns:
        `[groups]`; infinite for gates that have no width left.
    """
    sums = np.full(len(rates), np.inf)
    for index, group in enumerate(gates.groups):
        rate, size = rates[index], group.size
        if rate <= 0:
            continue
        ascending = np.sort(scores[group.channels])
        if whole:
            sums[index] = ascending.sum() if round((1 - rate) * size) == 0 else 0.0
        else:
            gone = size - gates.kept(index, rate)
            next_gone = size - gates.kept(index, rate - gates.steps[index])
            sums[index] = ascending[gone:next_gone].sum()
    return sums


def trimmed_otsu(values: Sequence[float] | np.ndarray) -> float:
    """Threshold that best parts values into a low and a high class, extremes left out.

    A fifth of the sorted values is cut off at each end; among the rest the cut with the greatest variance between the
    classes wins, the first one on ties.

    Args:
        values: At least one number.

    Returns:
        The threshold; the greatest value where too few are left to part (the original crashes there).

    Reference:
        Lee & Song, EKG (ECCV 2022), choice of candidate gates; Otsu (1979).
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cut = int(np.ceil(_TRIMMED * len(ordered)))
    trimmed = ordered[cut : len(ordered) - cut]
    count = len(trimmed)
    if count <= 2:
        return float(ordered[-1])
    lower = np.arange(1, count - 1)
    variances = [t * (count - t) * (trimmed[:t].mean() - trimmed[t:].mean()) ** 2 for t in lower]
    best = int(lower[np.argmax(variances)])
    return float((trimmed[best - 1] + trimmed[best]) / 2)


def marked_gates(importance: np.ndarray) -> np.ndarray:
    """Bool `[groups]`: the gates to try, those at or below the threshold of `trimmed_otsu`."""
    finite = np.isfinite(importance)
    if not finite.any():
        return finite
    return finite & (importance <= trimmed_otsu(importance[finite]))
