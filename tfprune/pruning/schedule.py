"""How fast iterative pruning approaches its target."""

from collections.abc import Callable

from tfprune.errors import ConfigError

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda target, time: 1 + (target - 1) * time,
    "exponential": lambda target, time: target**time,
    "cubic": lambda target, time: target + (1 - target) * (1 - time) ** 3,
}
"""The fraction kept at a time between 0 and 1: 1 at first, the target at last.

Reference:
    Cubic: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1. Exponential, by the same fraction of what is
    left at each step: Frankle and Carbin, ICLR 2019; Tanaka et al., "SynFlow", NeurIPS 2020.
"""


def fractions(target: float, steps: int, schedule: str) -> tuple[float, ...]:
    """The fraction of the original to keep after each step.

    Args:
        target: The last one.
        steps: How many.
        schedule: `linear`, `exponential` or `cubic` (fast at first).

    Returns:
        `steps` fractions, descending; the last is exactly the target.

    Raises:
        ConfigError: The schedule is unknown, or there is no step.

    Example:
        >>> fractions(0.5, 2, "linear")
        (0.75, 0.5)
    """
    if schedule not in SCHEDULES:
        raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULES)}, received {schedule!r}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ConfigError(f"steps: expected a whole number of at least 1, received {steps!r}")
    kept = SCHEDULES[schedule]
    return (*(kept(target, step / steps) for step in range(1, steps)), target)
