"""Reading of pickles, within limits and without running any code of theirs.

A pickle is a program whose instructions make values and call functions by name. `pickletools` decodes the instructions,
and `PickleReader` carries out those that make containers, numbers and text. Names stand for what the reader's table has
for them, and only the functions of this table are called. All else is refused.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

from tfprune.reading.content import RefusedError, shown

_INSTRUCTIONS = 1 << 20
_UNFINISHED = 10_000  # values; pickles fill containers with a thousand at a time
_AXES = 64
_LARGEST_SIZE = 1 << 63
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# LONG4 is not among them: its numbers may have millions of digits.
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
_KEYS = (str, bytes, int, float, type(None))  # others can take very long to hash
_KEY_BITS = 60  # larger whole numbers can all have the same hash


class RefusedPickleError(RefusedError):
    """A pickle asks for something else than a reader knows.

    Args:
        what: What it asks for.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"it asks for {what}; nothing of it was run")


@dataclass(frozen=True)
class Call:
    """A function that a pickle may call; the function checks what it receives."""

    function: Callable[..., Any]


class Stateful:
    """Base class of objects whose state a pickle may set."""

    def set_state(self, state: Any) -> None:
        """Sets the state, after checking it."""
        raise NotImplementedError


class PickleReader:
    """Reads pickles from a stream, one after another.

    Args:
        names: What stands for a name, by module and name: a `Call`, or any other object, which then is only a value.
        limit: Bytes that a pickle may have.
        outside: Returns an object that is kept outside of the pickle, by its persistent id. Default: none is.
    """

    def __init__(
        self, names: Mapping[tuple[str, str], Any], limit: int, outside: Callable[[Any], Any] | None = None
    ) -> None:
        encode = {("_codecs", "encode"): Call(self._encoded)}  # pickle protocols 0 to 2 write bytes by it
        self._names = MappingProxyType({**names, **encode})
        self._limit = limit
        self._outside = outside

    def load(self, file: BinaryIO) -> Any:
        """Reads a pickle; afterwards the stream is at its end.

        Args:
            file: The stream.

        Returns:
            The value.

        Raises:
            RefusedPickleError: The pickle asks for something else, or for too much.
            RefusedError: The pickle is damaged, or too long.
        """
        try:
            return self._loaded(file)
        except (RefusedError, MemoryError):
            raise
        except Exception as error:  # any: a value, a place in the memo, an end, a letter that is missing
            raise RefusedError(f"its pickle is damaged ({type(error).__name__})") from error

    def _loaded(self, file: BinaryIO) -> Any:
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks below each mark
        self._memo: dict[int, Any] = {}
        self._to_encode = self._limit
        stream: Any = _Limited(file, self._limit)
        for number, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if number >= _INSTRUCTIONS or len(self._stack) > _UNFINISHED or len(self._below) > _UNFINISHED:
                raise RefusedPickleError(f"more than {_INSTRUCTIONS:,} values, or {_UNFINISHED:,} within each other")
            self._run(code.name, argument)
        return self._stack.pop()

    def _run(self, name: str, argument: Any) -> None:
        """Carries out an instruction."""
        stack = self._stack
        match name:
            case _ if name in _VALUES:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _ if name in _TUPLES:
                self._replace(_TUPLES[name], tuple)
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self._below.append(stack)
                self._stack = []
            case "LIST":
                self._since_mark(0).append(stack)
            case "TUPLE":
                self._since_mark(0).append(tuple(stack))
            case "DICT":
                self._since_mark(0).append({})
                self._fill(stack)
            case "APPEND" | "SETITEM":
                given = slice(-1 if name == "APPEND" else -2, None)
                values = stack[given]
                del stack[given]
                self._fill(values)
            case "APPENDS" | "SETITEMS":
                self._since_mark(1)
                self._fill(stack)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(self._named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self._replace(2, lambda names: self._named(*names))
            case "REDUCE":
                self._replace(2, lambda parts: self._called(*parts))
            case "BUILD":
                self._set_state(stack.pop())
            case "BINPERSID":
                self._replace(1, lambda pid: self._kept_outside(pid[0]))
            case "PERSID":
                raise RefusedPickleError("an object kept outside of it")
            case "POP" if stack:
                stack.pop()
            case "POP_MARK":
                self._since_mark(0)
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                raise RefusedPickleError(f"the instruction {name}")

    def _replace(self, count: int, make: Callable[[list[Any]], Any]) -> None:
        """Replaces the last values by the one that is made of them."""
        if len(self._stack) < count:
            raise IndexError("a value is missing")
        start = len(self._stack) - count
        self._stack[start:] = [make(self._stack[start:])]

    def _since_mark(self, least: int) -> list[Any]:
        """Drops the values since the last mark and returns those below, which must be some."""
        self._stack = self._below.pop()
        if len(self._stack) < least:
            raise IndexError("a value is missing")
        return self._stack

    def _fill(self, values: list[Any]) -> None:
        """Adds values to the last list, or keys and values to the last dictionary."""
        target = self._stack[-1]
        if type(target) is list:
            target.extend(values)
        elif type(target) is dict:
            for key, value in zip(values[::2], values[1::2], strict=True):
                if not isinstance(key, _KEYS) or (isinstance(key, int) and key.bit_length() > _KEY_BITS):
                    raise RefusedPickleError(f"a key {shown(key)}, where text or a number was expected")
                target[key] = value
        else:
            raise RefusedPickleError("values in something else than a list or a dictionary")

    def _named(self, module: Any, name: Any) -> Any:
        """Returns what stands for a name."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedPickleError("a name that is no text")
        if (module, name) not in self._names:
            raise RefusedPickleError(f"{module[:40]}.{name[:40]}".encode("unicode_escape").decode("ascii"))
        return self._names[module, name]

    def _called(self, function: Any, arguments: Any) -> Any:
        """Returns the result of a function of the table."""
        if not isinstance(function, Call) or not isinstance(arguments, tuple):
            raise RefusedPickleError("a call of something that is no function")
        return function.function(*arguments)

    def _set_state(self, state: Any) -> None:
        """Sets the state of the last value; attributes of an ordered dictionary, as PyTorch adds them, are ignored."""
        target = self._stack[-1]
        if isinstance(target, Stateful):
            target.set_state(state)
        elif type(target) is not dict:
            raise RefusedPickleError("a change of the reader itself")

    def _kept_outside(self, pid: Any) -> Any:
        if self._outside is None:
            raise RefusedPickleError("an object kept outside of it")
        return self._outside(pid)

    def _encoded(self, text: Any, encoding: Any) -> bytes:
        """Returns the bytes of a text; all together are no longer than the pickle may be."""
        if not isinstance(text, str) or encoding != "latin1":
            raise RefusedPickleError(f"the encoding {shown(encoding)}")
        self._to_encode -= len(text)
        if self._to_encode < 0:
            raise RefusedPickleError("the same bytes many times")
        return text.encode("latin1")


class _Limited:
    """A stream that ends after some bytes, whatever lengths a file claims."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int) -> bytes:
        """Returns so many bytes."""
        if not 0 <= size <= self._left:
            raise RefusedError("its pickle is damaged: it ends early, or is too long")
        self._left -= size
        return self._file.read(size)

    def readline(self) -> bytes:
        """Returns the bytes up to the end of a line."""
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Returns a shape, which a file gives.

    Raises:
        RefusedPickleError: It is not a tuple of a few sizes.
    """
    if not isinstance(shape, tuple) or len(shape) > _AXES or not all(is_size(size) for size in shape):
        raise RefusedPickleError(f"an array of the shape {shown(shape)}")
    return shape


def is_size(value: Any) -> bool:
    """Returns whether a value of a file is a whole number that can be a size."""
    return isinstance(value, int) and 0 <= value < _LARGEST_SIZE
