"""Telling users that a layer was pruned away."""

from collections.abc import Sequence

_SHOWN = 6


class LayerCollapseWarning(UserWarning):
    """Nothing is left of a kernel, so its layer passes nothing on but its bias.

    Args:
        names: The weights, such as `Masks.collapsed`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        super().__init__(
            f"layer collapse: nothing is left of {', '.join(names[:_SHOWN])}{more}; keep a larger density, "
            "prune in more iterations, or use scope='local'"
        )
        self.names = tuple(names)
