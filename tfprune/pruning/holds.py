"""What keeps channels that the scores alone would remove."""

from collections.abc import Iterable, Mapping

import numpy as np

from tfprune.graph import ChannelGroup
from tfprune.pruning.group_plan import Hold
from tfprune.pruning.protection import IGNORED, NEEDED, UNSCORED
from tfprune.pruning.width_constraints import WidthConstraints


def holds(
    group: ChannelGroup, asked: np.ndarray, protections: Mapping[str, np.ndarray], constraints: WidthConstraints
) -> tuple[Hold, ...]:
    """What keeps more units of a group than its scores do.

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
    for reason, units in protections.items():
        found.append((reason, int((units & ~kept).sum())))
        kept = kept | units
    count = int(kept.sum())
    floors = constraints.floors(group.size, group.multiplicity)
    tightest = max(floors, key=lambda name: floors[name])
    found.append((tightest, max(0, floors[tightest] - count)))
    count = max(count, floors[tightest])
    rounded = int(constraints.rounded_up(np.asarray(count), group.size, group.multiplicity))
    found.append(("round_to", rounded - count))
    return tuple(Hold(reason, units * group.multiplicity) for reason, units in found if units)


def in_words(reasons: Iterable[str], constraints: WidthConstraints) -> str:
    """The reasons of some holds, for a message."""
    words = {IGNORED: "layers to ignore", UNSCORED: "groups without a score", NEEDED: "layers that would run empty"}
    texts = [words.get(name) or f"{name}={getattr(constraints, name):g}" for name in reasons]
    texts = ["each keeps one channel" if text == "min_channels=1" else text for text in texts]
    return ", ".join(texts) or "the model has no prunable channels"
