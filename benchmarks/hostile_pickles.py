"""Changes and bombs of pickles: instructions in another order, and little programs that ask for much."""

import io
import pickle
import pickletools
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hostile_child import TRAP

Bombs = Iterator[tuple[str, Callable[[], bytes]]]
_START, _END = b"\x80\x02", b"."


def _text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(raw)) + raw


def _sharing(levels: int, join: bytes) -> bytes:
    """Returns instructions for a value that refers twice to a value that refers twice to a value, and so on."""
    steps = (b"r" + struct.pack("<I", n) + b"j" + struct.pack("<I", n) + join for n in range(levels))
    return b"K\x01" + b"".join(steps)


def _item(value: bytes, key: bytes = b"") -> bytes:
    """Returns a pickle of a dictionary with one entry."""
    return _START + b"}" + (key or _text("conv/kernel:0")) + value + b"s" + _END


_DTYPE = _name("numpy", "dtype") + _text("f4") + b"\x85R"
_FROM_BUFFER = _name("numpy.core.numeric", "_frombuffer")
_RECONSTRUCT = _name("numpy.core.multiarray", "_reconstruct")


def _buffer(shape: bytes, data: bytes = b"C\x04abcd", dtype: bytes = _DTYPE, order: bytes = _text("C")) -> bytes:
    """Returns instructions for an array of bytes."""
    return _FROM_BUFFER + b"(" + data + dtype + shape + order + b"tR"


def bombs(content: bytes) -> Bombs:
    """Yields bombs of pickles, in a file of their own and as the file's content."""
    values = dict(_values())
    for change, value in values.items():
        yield change, lambda value=value: _item(value)
        yield f"{change}, as a key", lambda value=value: _item(b"K\x01", value)
        yield f"{change}, alone", lambda value=value: _START + value + _END
        yield f"{change}, before the content", lambda value=value: value + b"0" + content.removeprefix(content[:2])
    for change, program in _programs():
        yield change, lambda program=program: program
        yield f"{change}, behind the content", lambda program=program: content[:-1] + program.removeprefix(_START)
    for change, value in _arrays():
        yield f"arrays: {change}", lambda value=value: pickle.dumps(value, 4)
    if not content.startswith(b"\x80\x02\x8a\x0a") and (known := _own(content)):
        for number, (change, array) in enumerate(_other_arrays()):
            name = sorted(known)[number % len(known)]
            yield (
                f"{name}: {change}",
                lambda name=name, array=array, protocol=number % 6: pickle.dumps(
                    known | {name: array(known[name])}, protocol
                ),
            )
        yield "an array less", lambda: pickle.dumps(dict(list(known.items())[1:]), 2)
        yield "an array more", lambda: pickle.dumps(known | {"x/kernel:0": np.ones(3)}, 2)
        yield "shared arrays", lambda: pickle.dumps(dict.fromkeys(known, np.ones((3, 3, 1, 16), np.float32)), 2)
        yield "many arrays", lambda: pickle.dumps(known | {f"x{n}/kernel:0": np.ones(3) for n in range(20_000)}, 2)


def _own(content: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a valid file of ours; none for other pickles."""
    if b"numpy" not in content:
        return {}
    return pickle.loads(content)


def _values() -> Iterator[tuple[str, bytes]]:
    """Yields instructions that make one value."""
    yield "tuples 200,000 deep", b")" + b"\x85" * 200_000
    yield "lists 200,000 deep", b"]" + b"]" * 200_000 + b"a" * 200_000
    yield "dictionaries 100,000 deep", (b"}" + _text("a")) * 100_000 + b"N" + b"s" * 100_000
    yield "2**60 references in tuples", _sharing(60, b"\x86")
    yield "2**26 references in tuples", _sharing(26, b"\x86")
    yield "3**40 references in lists", b"]" + b"".join(b"2](" + b"h\x00" * 3 + b"e" for _ in range(40))
    yield "a list in itself", b"]q\x00h\x00a"
    yield "a tuple in a list in itself", b"]q\x00h\x00\x85a"
    yield "a place in memory of 2**32", b"Nr" + struct.pack("<I", 0xFFFFFFFF)
    yield "a place in memory of 10**8", b"Nr" + struct.pack("<I", 10**8)
    yield "a number of 24,000 bits", _number(1 << 24_000)
    yield "a number of 8,000,000 bits", _number(1 << 8_000_000)
    yield "a number of 10,000 digits", b"I" + b"7" * 10_000 + b"\n"
    yield "a long number of 10,000 digits", b"L" + b"7" * 10_000 + b"L\n"
    yield "a text of 4 GB", b"X" + struct.pack("<I", 0xFFFFFFFF) + b"x"
    yield "a text of 2**60 bytes", b"\x8d" + struct.pack("<Q", 1 << 60) + b"x"
    yield "bytes of 2**40", b"\x8e" + struct.pack("<Q", 1 << 40) + b"x"
    yield "a bytearray of 2**40", b"\x96" + struct.pack("<Q", 1 << 40) + b"x"
    yield "a negative length", b"T" + struct.pack("<i", -5) + b"x"
    yield "a frame of 2**60", b"\x95" + struct.pack("<Q", 1 << 60) + b"N"
    yield "half of a surrogate", _text("\ud800")
    yield "a text of a line", b"V\\ud800\\udfff\\u0\n"
    yield "a quoted text", b"S'\\x\n"
    yield "one million values", b"(" + b"K\x01" * 1_000_000 + b"t"
    yield "one million marks", b"(" * 1_000_000 + b"N"
    yield "one million empty lists", b"(" + b"]" * 1_000_000 + b"l"
    keys = b"".join(_number(n * ((1 << 61) - 1)) + b"N" for n in range(1, 6000))
    yield "colliding keys", b"}(" + keys + b"u"
    yield "colliding members", b"\x8f(" + b"".join(_number(n * ((1 << 61) - 1)) for n in range(1, 6000)) + b"\x90"
    yield "NaN keys", b"}(" + (b"G" + struct.pack(">d", float("nan")) + b"N") * 20_000 + b"u"
    yield "many dictionaries", b"(" + b"}" * 300_000 + b"t"
    for module, name in (
        ("os", "system"),
        ("builtins", "eval"),
        ("numpy", "load"),
        (TRAP, "Trap"),
        ("x" * 9999, "y"),
    ):
        yield f"a call of {module[:20]}.{name}", _name(module, name) + _text("true") + b"\x85R"
        yield f"an instance of {module[:20]}.{name}", b"(" + _text("true") + f"i{module}\n{name}\n".encode()
        yield f"a new {module[:20]}.{name}", _name(module, name) + _text("true") + b"\x85\x81"
    yield "a name of escapes", _name("\x1b[31m", "\x07\u202e")
    yield "an extension", b"\x82\x01"
    yield "a persistent object", b"Pabc\n"
    yield "a kept object", _text("storage") + b"Q"
    yield "an array without a start", _name("numpy", "ndarray") + b")\x81"
    yield "an array without a state", _RECONSTRUCT + _name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    state = b"(K\x01" + b"(" + _number(1 << 40) + b"t" + _DTYPE + b"\x89C\x04abcdt"
    yield "a state of 2**40", _RECONSTRUCT + _name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R" + state + b"b"
    yield "a state of itself", _RECONSTRUCT + _name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87Rq\x00h\x00b"
    yield "a shape of 2**62", _buffer(b"(" + _number(1 << 62) + b"t")
    yield "a negative shape", _buffer(b"(" + _number(-1) + b"t")
    yield "a shape of 10,000 axes", _buffer(b"(" + b"K\x01" * 10_000 + b"t")
    yield "a shape of references", _buffer(_sharing(26, b"\x86"))
    yield "a shape of large numbers", _buffer(b"(" + _number(1 << 800_000) + b"q\x01" + b"h\x01" * 50_000 + b"t")
    yield "a shape of truth", _buffer(b"(\x88\x88t")
    yield "a shape of 0 and 2**62", _buffer(b"(K\x00" + _number(1 << 62) + b"t")
    yield "an order of references", _buffer(b"(K\x01t", order=_sharing(30, b"\x86"))
    for dtype in (
        "O",
        "V999999999",
        "U99999999",
        "f4,(1000000,1000)f8",
        "M8[D]",
        "c16",
        "x",
        "<f4" * 9999,
        "S0",
        "f16",
    ):
        yield f"a dtype {dtype[:12]}", _buffer(b"(K\x01t", dtype=_name("numpy", "dtype") + _text(dtype) + b"\x85R")
    yield "a dtype of a dtype", _buffer(b"(K\x01t", dtype=_name("numpy", "dtype") + _DTYPE + b"\x85R")
    yield "a dtype with a state", _DTYPE + b"(K\x03" + _text("<") + b"NNN" + _number(-1) + _number(1 << 60) + b"K\x00tb"
    encode = _name("_codecs", "encode")
    yield "an encoding", encode + _text("x" * 100) + _text("rot13") + b"\x86R"
    yield (
        "bytes encoded often",
        _text("x" * 60_000) + b"q\x000" + (encode + b"h\x00" + _text("latin1") + b"\x86R0") * 3000 + b"N",
    )


def _programs() -> Iterator[tuple[str, bytes]]:
    """Yields whole pickles."""
    yield "no end", _START + b"}"
    yield "only an end", b"."
    yield "an end without a value", _START + _END
    yield "two values", _START + b"NN" + _END
    yield "a mark at the end", _START + b"N(" + _END
    yield "a protocol of 255", b"\x80\xff" + b"}" + _END
    yield "an unknown instruction", _START + b"}\xff" + _END
    yield "a value of the memory that is not there", _START + b"h\x07" + _END
    yield "nothing to repeat", _START + b"2" + _END
    yield "nothing to take away", _START + b"0" + _END
    yield "a mark that is not there", _START + b"}u" + _END
    yield "a key without a value", _START + b"}(N" + b"u" + _END
    yield "ten million values taken away", _START + b"N0" * 5_000_000 + b"N" + _END
    yield "ten million notes", _START + b"N" + b"q\x00" * 5_000_000 + _END
    yield "ten million new places", b"\x80\x04N" + b"\x94" * 5_000_000 + _END
    yield "doubled", _START + b"]" + b"2" * 1_000_000 + _END
    yield "an array of numbers as bytes", pickle.dumps({"conv/kernel:0": b"\0" * 36}, 2)


def _arrays() -> Iterator[tuple[str, Any]]:
    yield "a list", [np.ones(3)]
    yield "a number", {"conv/kernel:0": 1.5}
    yield "objects", {"conv/kernel:0": np.array([None, "x"], object)}
    yield "texts", {"conv/kernel:0": np.array(["a", "b"])}
    yield "a key of bytes", {b"conv/kernel:0": np.ones(3)}
    yield "a key of 100,000 characters", {"x" * 100_000: np.ones(3)}
    yield "a key of escapes", {"\x1b[31m\n\u202e": np.ones(3)}
    yield "a matrix", {"conv/kernel:0": np.ma.masked_array([1.0, 2.0], [0, 1])}
    yield "nothing", {}


def _other_arrays() -> Iterator[tuple[str, Callable[[np.ndarray], Any]]]:
    """Yields what replaces an array."""
    for number in (float("nan"), float("inf"), 1e300, -1e39, 1e-310):
        yield f"{number}", lambda array, number=number: np.full(array.shape, number, np.float64)
    for dtype in ("f8", "f2", ">f4", "i8", "u1", "?", "c8", "M8[s]", "S3", "U2"):
        yield f"of {dtype}", lambda array, dtype=dtype: np.ones(array.shape).astype("i8").astype(dtype)
    yield "with an axis more", lambda array: array[None, ..., None]
    yield "with an axis less", lambda array: array.ravel()
    yield "transposed", lambda array: array.T
    yield "in another order", lambda array: np.asfortranarray(array)
    yield "without numbers", lambda array: array[:0]
    yield "a single number", lambda array: array.ravel()[0]
    yield "None", lambda array: None
    yield "too wide", lambda array: np.repeat(array, 7, axis=-1)
    yield "broadcast", lambda array: np.broadcast_to(np.float32(1), (1 << 12, 1 << 10))


def changed(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns a pickle with an instruction removed, repeated, moved, or with another argument."""
    starts = []
    stream = io.BytesIO(content)
    try:
        for code, _, position in pickletools.genops(stream):
            starts.append((position, code.name))
    except Exception:  # other bytes follow: storages of PyTorch
        pass
    starts = [(position, name) for position, name in starts if position is not None]
    ends = [position for position, _ in starts[1:]] + [stream.tell()]
    parts = [content[start:end] for (start, _), end in zip(starts, ends, strict=True)]
    place = rng.randrange(len(parts))
    name = starts[place][1]
    match rng.randrange(5):
        case 0:
            change, parts[place] = "removed", b""
        case 1:
            change, parts[place] = "repeated", parts[place] * rng.choice((2, 1000))
        case 2:
            other = rng.randrange(len(parts))
            change = f"swapped with {starts[other][1]}"
            parts[place], parts[other] = parts[other], parts[place]
        case 3:
            value = rng.choice(list(_values()))
            change, parts[place] = f"replaced by {value[0]}", value[1]
        case _:
            code, argument = parts[place][:1], bytearray(parts[place][1:])
            for _ in range(1 if argument else 0):
                argument[rng.randrange(len(argument))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 10))
            change, parts[place] = "with another argument", code + bytes(argument)
    return f"{name} {place} {change}", b"".join(parts) + content[ends[-1] :]
