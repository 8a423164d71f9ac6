"""Values as short texts: for messages, and as `repr` of results that hold much."""

import dataclasses
from reprlib import Repr
from typing import Any

_LINE = 240


class _Short(Repr):
    """Shows the beginning of containers and texts, and of arrays their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 3

    def repr_instance(self, x: Any, level: int) -> str:
        if hasattr(x, "dtype") and getattr(x, "shape", ()) != ():
            return f"{type(x).__name__} of shape {tuple(x.shape)}"
        return super().repr_instance(x, level)


def short(value: object) -> str:
    """Returns the `repr` of a value, shortened: of containers three elements, of arrays the shape.

    Example:
        >>> short([1, 2, 3, 4])
        '[1, 2, 3, ...]'
    """
    return _Short().repr(value)


def described(value: object) -> str:
    """Returns a value of any type, shortened, and its type, for a message.

    Example:
        >>> described("x"), described(3)
        ("'x' (str)", '3 (int)')
    """
    return f"{short(value)} ({type(value).__name__})"


def short_repr(self: Any) -> str:
    """Returns the `repr` of a dataclass in a line or two; for its body: `__repr__ = short_repr`."""
    shown = (f"{each.name}={short(getattr(self, each.name))}" for each in dataclasses.fields(self) if each.repr)
    text = f"{type(self).__name__}({', '.join(shown)})"
    return text if len(text) <= _LINE else f"{text[: _LINE - 4]}...)"
