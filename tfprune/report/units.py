"""Numbers of very different size in one unit."""

from collections.abc import Iterable
from dataclasses import dataclass

_PREFIXES = ((1, ""), (10**3, "k"), (10**6, "M"), (10**9, "G"))
_LARGEST = 10**5  # five digits before the point can still be read


@dataclass(frozen=True)
class Unit:
    """A power of a thousand to count in.

    Attributes:
        size: What one of it is.
        prefix: Its letter, none for one.
    """

    size: int
    prefix: str

    @classmethod
    def of(cls, values: Iterable[int | None]) -> "Unit":
        """The finest unit in which the largest of some values can still be read."""
        largest = max((value for value in values if value is not None), default=0)
        size, prefix = next((each for each in _PREFIXES if largest < _LARGEST * each[0]), _PREFIXES[-1])
        return cls(size, prefix)

    def show(self, value: int | None) -> str:
        """A value in this unit: `1,234.5`; `0` for none at all, `< 0.1` for very little, `?` for unknown."""
        if value is None:
            return "?"
        if self.size == 1 or value == 0:
            return f"{value:,}"
        shown = f"{value / self.size:,.1f}"
        return "< 0.1" if shown == "0.0" else shown
