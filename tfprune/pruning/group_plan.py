"""What a plan does to one channel group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tfprune.errors import PruningError
from tfprune.graph import ChannelGroup
from tfprune.pruning.budget import WidthConstraints
from tfprune.pruning.protection import IGNORED, NEEDED, PROTECTIONS, UNSCORED, WIDTH_KEPT
from tfprune.pruning.widths import Widths
from tfprune.reading import Count, Name, Size
from tfprune.reprs import short, short_repr
from tfprune.tables import shortened

FITS = "target"
"""Reason of channels that were given back because the target is met with them, too."""

LIMITS = ("min_channels", "max_sparsity", "round_to", FITS)
"""The reasons of channels that are kept beside those that their protection keeps."""


@dataclass(frozen=True)
class Hold:
    """Channels that are kept for another reason than their score.

    Attributes:
        reason: The limit, or kind of protection.
        channels: How many channels.
    """

    reason: Name
    channels: Count


@dataclass(frozen=True)
class GroupPlan:
    """What a plan does to one channel group.

    Attributes:
        name: The group's name, as in `channel_groups`.
        layers: The layers that produce these channels.
        size: Prunable channels before; each may stand for several positions of the layers.
        keep: The prunable channels that are kept, ascending.
        before: Width of the first layer before, with positions that cannot be pruned.
        after: Its width after.
        protected: What prevents channels from being pruned at all.
        bound: What kept channels that the ranking alone would have removed, with their number.

    Raises:
        PruningError: `keep` is not an ascending selection of the group's channels, or empty; or the width grows, or
            more channels are held than there are, or for a reason that does not exist.
    """

    name: Name
    layers: tuple[Name, ...]
    size: Size
    keep: tuple[Count, ...]
    before: Size
    after: Size
    protected: tuple[Hold, ...] = ()
    bound: tuple[Hold, ...] = ()

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if not self.keep or list(self.keep) != sorted(set(self.keep)) or self.keep[0] < 0 or self.keep[-1] >= self.size:
            raise PruningError(
                f"keep: expected for {shortened(self.name, 60)} at least one of the channels 0 to {self.size - 1}, "
                f"ascending, received {short(list(self.keep))}"
            )
        if self.after > self.before:
            raise PruningError(f"after: expected at most {self.before}, the width before, received {self.after}")
        for name, known in (("protected", PROTECTIONS), ("bound", (*PROTECTIONS, *LIMITS))):
            for index, hold in enumerate(getattr(self, name)):
                if hold.reason not in known:
                    received = short(hold.reason)
                    raise PruningError(f"{name}[{index}].reason: expected {', '.join(known)}, received {received}")
                if hold.channels > self.before:
                    raise PruningError(
                        f"{name}[{index}].channels: expected at most {self.before}, the width, received {hold.channels}"
                    )


def holds(
    group: ChannelGroup, widths: Widths, reasons: Mapping[str, np.ndarray], asked: np.ndarray
) -> tuple[Hold, ...]:
    """Returns what keeps more channels of a group than its scores do.

    Args:
        group: The group.
        widths: The widths of the layers.
        reasons: Bool `[channels]` for each reason: what is kept for it, at least.
        asked: Bool `[channels]`: what the scores alone would keep.

    Returns:
        Each reason with the positions that it adds to those of the reasons before it.
    """
    found = []
    total, before = asked, widths.of_group(group, asked)
    for reason, channels in reasons.items():
        total = total | channels
        after = widths.of_group(group, total)
        if after > before:
            found.append(Hold(reason, after - before))
        before = after
    return tuple(found)


def describe_reasons(reasons: Iterable[str], constraints: WidthConstraints) -> str:
    """Describes the reasons of some holds, for a message."""
    words = {
        IGNORED: "layers to ignore",
        WIDTH_KEPT: "layers that keep their width",
        UNSCORED: "groups without a score",
        NEEDED: "layers that would run empty",
    }
    texts = [words.get(name) or constraints.text(name) for name in reasons]
    texts = ["each keeps one channel" if text == "min_channels=1" else text for text in texts]
    return ", ".join(texts) or "the model has no prunable channels"
