"""The steps in which channels can be removed, so that each layer always has an allowed width."""

from collections.abc import Sequence
from math import prod

import numpy as np

from tfprune.graph import ChannelGroup
from tfprune.pruning.budget import WidthConstraints
from tfprune.pruning.widths import LayerWidth

_MOST_SETS = 1024
"""How many combinations of remainders are tried at most; beyond, only channels that are alike go together."""

_WHOLE = -1
"""Stands for the remainder of a width that is allowed because nothing was removed."""

_Numbers = tuple[int, ...]


class WidthSteps:
    """Channels of groups that meet in some layers, in the steps in which they can be removed.

    Channels are offered one by one. As soon as some of those that wait can go together, such that every layer that they
    are in gets an allowed width, they go: a multiple of `round_to`, and not below the other limits. Sets of waiting
    channels that lead to the same remainders are alike, so few have to be tried.

    Args:
        groups: The groups of the channels.
        layers: All layers that produce some of them.
        constraints: The allowed widths.
        gone: Channels that were removed before, bool `[channels of the model]`.
    """

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        layers: Sequence[LayerWidth],
        constraints: WidthConstraints,
        gone: np.ndarray,
    ) -> None:
        channels = np.concatenate([np.arange(group.start, group.start + group.size) for group in groups])
        rows: dict[tuple[bytes, int, int, int], int] = {}
        for layer in layers:
            positions = np.zeros(len(channels), int)
            positions[np.searchsorted(channels, layer.channels)] = layer.positions
            removed = int(positions[gone[channels]].sum())
            rest, step = layer.whole % constraints.round_to, constraints.round_to
            start = _WHOLE if rest and not removed else (rest - removed) % step
            key = (positions.tobytes(), start, rest, step)
            most = constraints.removable(layer.whole, layer.limit)[0] - removed
            rows[key] = max(0, min(most, rows.get(key, most)))
        for group in groups:  # each keeps a channel
            ones = ((channels >= group.start) & (channels < group.start + group.size)).astype(int)
            most = group.size - 1 - int(gone[group.channels].sum())
            key = (ones.tobytes(), 0, 0, 1)
            rows[key] = max(0, min(most, rows.get(key, most)))
        columns = np.stack([np.frombuffer(positions, int) for positions, *_ in rows], axis=1)
        self._columns = dict(zip(channels.tolist(), columns.tolist(), strict=True))
        self._rests, self._steps = [key[2] for key in rows], [key[3] for key in rows]
        self._most = list(rows.values())
        self._mixed = prod(self._steps) <= _MOST_SETS
        self._restart(tuple(key[1] for key in rows))

    def _restart(self, remainders: _Numbers) -> None:
        self._waiting: list[int] = []
        self._sets: dict[_Numbers, tuple[_Numbers, _Numbers]] = {remainders: ((0,) * len(remainders), ())}

    def offer(self, channel: int) -> list[int]:
        """Returns the channels that go once this one may go, too; none, if it has to wait."""
        found: list[int] = []
        offered = [channel]
        while offered:
            one = offered.pop()
            if any(size > most for size, most in zip(self._columns[one], self._most, strict=True)):
                continue  # it stays
            waiting = self._waiting
            if chosen := self._with(one):
                found += chosen
                offered += [each for each in reversed(waiting) if each not in chosen]
            else:
                waiting.append(one)
        return found

    def _with(self, channel: int) -> _Numbers:
        """Returns waiting channels that can go with this one, and it; none if there are none such."""
        column = self._columns[channel]
        more: dict[_Numbers, tuple[_Numbers, _Numbers]] = {}
        for remainders, (sizes, chosen) in self._sets.items():
            if not self._mixed and chosen and self._columns[chosen[0]] != column:
                continue
            total = tuple([a + b for a, b in zip(sizes, column, strict=True)])
            if any(a > b for a, b in zip(total, self._most, strict=True)):
                continue
            after = tuple(map(_remainder, remainders, column, self._rests, self._steps))
            if max(after) <= 0:  # all are multiples, or whole
                self._most = [most - size for most, size in zip(self._most, total, strict=True)]
                self._restart(after)
                return (*chosen, channel)
            if after not in self._sets:
                more.setdefault(after, (total, (*chosen, channel)))
        self._sets |= more
        return ()


def _remainder(old: int, size: int, whole: int, step: int) -> int:
    if not size:
        return old
    return ((whole if old == _WHOLE else old) - size) % step
