"""Timing several calls in turn."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm


def alternating_times(
    calls: Mapping[str, Callable[[], object]], *, runs: int, warm_up: int, description: str | None = None
) -> dict[str, np.ndarray]:
    """Times calls in turn, so that a change of the machine's speed meets all of them.

    The order turns round with every run: what a call leaves in the caches helps each neighbour alike.

    Args:
        calls: What to call, by name.
        runs: Timed calls of each.
        warm_up: Calls of each before them.
        description: What stands before a progress bar. Default: no bar.

    Returns:
        Milliseconds of every run by name, `[runs]` each; the entries of one run belong together.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    hidden = None if description else True
    for run in tqdm(range(warm_up + runs), desc=description, disable=hidden, leave=False):
        for name in reversed(names) if run % 2 else names:
            started = time.perf_counter()
            calls[name]()
            milliseconds = 1e3 * (time.perf_counter() - started)
            if run >= warm_up:
                times[name].append(milliseconds)
    return {name: np.array(values) for name, values in times.items()}
