"""Channels that cannot be pruned: which layer makes them, which one holds them, and why."""

from dataclasses import dataclass

from tfprune.graph.labels import Labels
from tfprune.reprs import short_repr
from tfprune.tables import count, listed


@dataclass(frozen=True)
class Held:
    """Channels of one layer that cannot be pruned.

    Attributes:
        layer: Name and class of the layer that makes them; `name.part` if it makes several kinds.
        channels: How many of them cannot be pruned.
        total: How many it makes.
    """

    layer: str
    channels: int
    total: int


@dataclass(frozen=True)
class LeftAlone:
    """What is not pruned for one reason.

    Attributes:
        causes: Name and class of the layers or operations, all of one class, that need all channels; empty for the
            outputs of the model.
        reason: Why; "it" is the cause, "they" are the channels.
        held: The channels that stay because of it.
        unknown: Whether the causes are layers of which nothing can be pruned, whatever is around them.
    """

    causes: tuple[str, ...]
    reason: str
    held: tuple[Held, ...] = ()
    unknown: bool = False

    __repr__ = short_repr

    @property
    def is_output(self) -> bool:
        """Whether these channels are outputs of the model, which always stay."""
        return not self.causes

    @property
    def cause(self) -> str:
        """The causes as a text: names and class."""
        if len(self.causes) < 2:
            return "".join(self.causes)
        return f"{listed(list(map(_name, self.causes)))} ({self.causes[0].rpartition(' (')[2]}"

    def __str__(self) -> str:
        if self.unknown:
            holds = listed([f"{_name(each.layer)} ({_amount(each)})" for each in self.held])
            verb = "holds" if len(self.causes) < 2 else "they hold"
            return f"{self.cause}: {self.reason}" + (f"; {verb} {holds}" if holds else "")
        makers = [each.layer for each in self.held]
        names = listed(list(map(_name, makers))) if len(makers) > 1 else makers[0]
        amount = _amount(Held("", sum(each.channels for each in self.held), sum(each.total for each in self.held)))
        because = "" if self.is_output or set(self.causes) == set(makers) else f" because of {self.cause}"
        verb = "stays" if amount.startswith("1 ") else "stay"
        return f"{names}: {amount} {verb}{because}: {self.reason}"


def _name(title: str) -> str:
    return title.rpartition(" (")[0]


def _amount(held: Held) -> str:
    part = "" if held.channels == held.total else f"{held.channels:,} of "
    return part + count(held.total, "channel")


def all_left_alone(labels: Labels) -> tuple[LeftAlone, ...]:
    """Returns everything that is not pruned: every pinned channel that a layer makes is held by one entry.

    Args:
        labels: The labels of a whole model.

    Returns:
        Layers without a rule, then all others in the order in which the held channels are made, outputs last.
    """
    held: dict[tuple[str, str], list[Held]] = {(name, reason): [] for name, reason in labels.unknown.items()}
    for name, produced in labels.produced.items():
        layer = labels.title(labels.makers[name], name)
        causes = [labels.cause(label) for label in produced.tolist()]
        for cause in dict.fromkeys(cause for cause in causes if cause is not None):
            held.setdefault(cause, []).append(Held(layer, causes.count(cause), len(causes)))
    alike: dict[tuple[str, str, bool], tuple[list[str], list[Held]]] = {}
    for (name, reason), each in held.items():
        title = labels.title(name) if name else ""
        key = (title.rpartition(" (")[2], reason, labels.unknown.get(name) == reason)
        titles, channels = alike.setdefault(key, ([], []))
        titles.extend([title] if title else [])
        channels.extend(each)
    entries = [
        LeftAlone(tuple(titles), reason, tuple(channels), unknown)
        for (_, reason, unknown), (titles, channels) in alike.items()
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.is_output, not entry.unknown)))
