"""What a plan does to one channel group."""

from dataclasses import dataclass

from tfprune.errors import PruningError


@dataclass(frozen=True)
class Hold:
    """Channels that stay for another reason than their score.

    Attributes:
        reason: The limit, or kind of protection.
        channels: How many channels.
    """

    reason: str
    channels: int


@dataclass(frozen=True)
class GroupPlan:
    """What a plan does to one channel group.

    Attributes:
        name: The group's name, as in `channel_groups`.
        layers: The layers that make these channels.
        size: Prunable units before.
        multiplicity: Channels per unit.
        keep: The units that stay, ascending.
        protected: What keeps units from being pruned at all.
        bound: What kept channels that the ranking alone would have removed, with their number.

    Raises:
        PruningError: `keep` does not hold some of the group's units, in order.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    multiplicity: int
    keep: tuple[int, ...]
    protected: tuple[Hold, ...] = ()
    bound: tuple[Hold, ...] = ()

    def __post_init__(self) -> None:
        if not self.keep or list(self.keep) != sorted(set(self.keep)) or self.keep[0] < 0 or self.keep[-1] >= self.size:
            raise PruningError(
                f"plan: expected for {self.name} at least one of the units 0 to {self.size - 1}, ascending, "
                f"received {list(self.keep)}"
            )

    @property
    def before(self) -> int:
        """Channels before."""
        return self.size * self.multiplicity

    @property
    def after(self) -> int:
        """Channels after."""
        return len(self.keep) * self.multiplicity
