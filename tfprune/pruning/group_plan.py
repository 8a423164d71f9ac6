"""What a plan does to one channel group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tfprune.errors import PruningError
from tfprune.graph import ChannelGroup
from tfprune.pruning.budget import WidthConstraints
from tfprune.pruning.protection import IGNORED, NEEDED, UNSCORED
from tfprune.reprs import short_repr


@dataclass(frozen=True)
class Hold:
    """Channels that are kept for another reason than their score.

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
        layers: The layers that produce these channels.
        size: Prunable channels before; each counts `multiplicity` times.
        multiplicity: How many channels of the layers each prunable one stands for.
        keep: The prunable channels that are kept, ascending.
        protected: What prevents channels from being pruned at all.
        bound: What kept channels that the ranking alone would have removed, with their number.

    Raises:
        PruningError: `keep` is not an ascending selection of the group's channels, or empty.
    """

    name: str
    layers: tuple[str, ...]
    size: int
    multiplicity: int
    keep: tuple[int, ...]
    protected: tuple[Hold, ...] = ()
    bound: tuple[Hold, ...] = ()

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if not self.keep or list(self.keep) != sorted(set(self.keep)) or self.keep[0] < 0 or self.keep[-1] >= self.size:
            raise PruningError(
                f"plan: expected for {self.name} at least one of the channels 0 to {self.size - 1}, ascending, "
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


def holds(
    group: ChannelGroup, asked: np.ndarray, protections: Mapping[str, np.ndarray], constraints: WidthConstraints
) -> tuple[Hold, ...]:
    """Returns what keeps more channels of a group than its scores do.

    Args:
        group: The group.
        asked: Bool `[size]`: what the scores alone would keep.
        protections: Bool `[size]` for each kind of protection.
        constraints: The limits of the widths.

    Returns:
        Each reason with the channels that it adds to those of the reasons before it.
    """
    found: list[tuple[str, int]] = []
    kept = asked
    for reason, channels in protections.items():
        found.append((reason, int((channels & ~kept).sum())))
        kept = kept | channels
    count = int(kept.sum())
    floors = constraints.floors(group.size, group.multiplicity)
    tightest = max(floors, key=lambda name: floors[name])
    found.append((tightest, max(0, floors[tightest] - count)))
    count = max(count, floors[tightest])
    rounded = int(constraints.rounded_up(np.asarray(count), group.size, group.multiplicity))
    found.append(("round_to", rounded - count))
    return tuple(Hold(reason, number * group.multiplicity) for reason, number in found if number)


def describe_reasons(reasons: Iterable[str], constraints: WidthConstraints) -> str:
    """Describes the reasons of some holds, for a message."""
    words = {IGNORED: "layers to ignore", UNSCORED: "groups without a score", NEEDED: "layers that would run empty"}
    texts = [words.get(name) or f"{name}={getattr(constraints, name):g}" for name in reasons]
    texts = ["each keeps one channel" if text == "min_channels=1" else text for text in texts]
    return ", ".join(texts) or "the model has no prunable channels"
