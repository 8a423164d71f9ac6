"""Channels that cannot be pruned: which layer makes them, which one holds them, and why."""

from dataclasses import dataclass

from tfprune.graph.labels import Labels

_NAMES_SHOWN = 3


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
        cause: Name and class of the layer or operation that needs all channels; empty for the outputs of the model.
        reason: Why; "it" is the cause, "they" are the channels.
        held: The channels that stay because of it.
        unknown: Whether the cause is a layer of which nothing can be pruned, whatever is around it.
    """

    cause: str
    reason: str
    held: tuple[Held, ...] = ()
    unknown: bool = False

    @property
    def is_output(self) -> bool:
        """Whether these channels are outputs of the model, which always stay."""
        return not self.cause

    def __str__(self) -> str:
        if self.unknown:
            holds = ", ".join(f"{_name(each)} ({_amount(each)})" for each in self.held[:_NAMES_SHOWN])
            return f"{self.cause}: {self.reason}" + (f"; holds {holds}{self._more}" if holds else "")
        (first, *others), shown = self.held, self.held[:_NAMES_SHOWN]
        names = f"{', '.join(map(_name, shown))}{self._more}" if others else first.layer
        amount = _amount(Held("", sum(each.channels for each in self.held), sum(each.total for each in self.held)))
        because = "" if self.is_output or (self.cause == first.layer and not others) else f" because of {self.cause}"
        verb = "stays" if amount.startswith("1 ") else "stay"
        return f"{names}: {amount} {verb}{because}: {self.reason}"

    @property
    def _more(self) -> str:
        hidden = len(self.held) - _NAMES_SHOWN
        return f" and {hidden} more" if hidden > 0 else ""


def _name(held: Held) -> str:
    return held.layer.rpartition(" (")[0]


def _amount(held: Held) -> str:
    part = "" if held.channels == held.total else f"{held.channels:,} of "
    return f"{part}{held.total:,} channel" + ("" if held.total == 1 else "s")


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
    entries = [
        LeftAlone(labels.title(name) if name else "", reason, tuple(each), labels.unknown.get(name) == reason)
        for (name, reason), each in held.items()
    ]
    return tuple(sorted(entries, key=lambda entry: (entry.is_output, not entry.unknown)))
