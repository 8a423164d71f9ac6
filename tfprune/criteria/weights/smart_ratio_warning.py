"""Telling users that a density cannot be met."""

from collections.abc import Sequence


class SmartRatioWarning(UserWarning):
    """All layers but the last are full, and the density asks for more.

    Args:
        density: What was asked for.
        kept: How many weights are kept.
        names: The weights, in the rule's order.
    """

    def __init__(self, density: float, kept: int, names: Sequence[str]) -> None:
        super().__init__(
            f"no layer can meet the ratio that a density of {density:g} asks for: all but {names[-1]} keep all their "
            f"weights, which makes {kept:,}; raise the ratio of the last layer, or lower the density"
        )
        self.kept = kept
