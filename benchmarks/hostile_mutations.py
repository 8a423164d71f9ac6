"""Changes of valid inputs: cuts, changed bytes, changed parts of what the bytes mean, and bombs.

An input is a folder of files: their contents by their paths. What the bytes mean is changed by `hostile_structure`,
which also has the bombs of each kind of file; a container keeps its checksums valid.
"""

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile_structure import bombs, changed_structure

_BLOCK = 512
SPECIAL = ("missing", "fifo", "folder", "socket", "link to nothing", "link to itself", "link to zeros", "sparse")
_OUTSIDE = "link outside"
_SPARSE = 3 << 30
_WORDS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xff" * 8,
    b"\0" * 64,
    b"-1",
    b"1e999",
)
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Input:
    """An input.

    Attributes:
        change: What was changed, in words.
        files: Contents by path.
        special: Paths with something else than a regular file, and what is there.
    """

    change: str
    files: Files
    special: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Writes the input into a folder, which is made; an older one is removed."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in (name for name, what in self.special.items() if what == _OUTSIDE):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(folder.parent / "beside")
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name not in self.special:
                path.write_bytes(content)
                continue
            match self.special[name]:
                case "fifo":
                    os.mkfifo(path)
                case "folder":
                    path.mkdir()
                case "socket":
                    with socket.socket(socket.AF_UNIX) as made:
                        made.bind(os.path.relpath(path))
                case "link to nothing":
                    path.symlink_to("nothing")
                case "link to itself":
                    path.symlink_to(path.name)
                case "link to zeros":
                    path.symlink_to("/dev/zero")
                case "sparse":
                    path.write_bytes(content)
                    os.truncate(path, _SPARSE)


def read_input(folder: Path) -> dict[str, bytes]:
    """Returns the files of an input by their paths."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def inputs(samples: list[dict[str, bytes]], count: int, seed: str, *, in_files: bool = True) -> Iterator[Input]:
    """Yields changed inputs: a fifth cut, a fifth with other bytes, and the others with another structure, or bombs.

    Args:
        samples: Valid inputs.
        count: How many.
        seed: Decides all choices.
        in_files: Whether a file may be replaced by something else, such as a pipe.
    """
    order = random.Random(seed)
    prepared = [make for _, make in bombs_of(samples, SPECIAL if in_files else ())]
    order.shuffle(prepared)
    cuts = list(_cuts(samples, -(-count // 5)))
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        turn = number % 5
        if turn == 0 and cuts:
            yield cuts[number // 5 % len(cuts)]
        elif turn in (1, 2) and prepared:
            yield prepared.pop()()
        else:
            sample = rng.choice(samples)
            name = _name(sample, rng)
            change, content = (changed_structure if turn != 4 else _changed_bytes)(name, sample[name], rng)
            yield Input(f"{name}: {change}", {**sample, name: content}, {})


def _name(sample: Files, rng: random.Random) -> str:
    return rng.choice(sorted(sample))


def _cuts(samples: list[dict[str, bytes]], count: int) -> Iterator[Input]:
    """Yields inputs with a file cut at every offset, or at offsets between where there are more than `count`."""
    places = [(sample, name) for sample in samples for name in sorted(sample)]
    for position in range(count):
        sample, name = places[position % len(places)]
        turns, turn = -(-count // len(places)), position // len(places)
        content = sample[name]
        end = turn if turns >= len(content) else turn * len(content) // turns
        yield Input(f"{name}: cut after {end} bytes", {**sample, name: content[:end]}, {})


def bombs_of(samples: list[dict[str, bytes]], specials: Sequence[str]) -> Iterator[tuple[str, Callable[[], Input]]]:
    """Yields what each bomb, or other thing, that replaces a file is, and what makes the input.

    Args:
        samples: Valid inputs.
        specials: What else than a file there may be, of `SPECIAL`.
    """
    for sample in samples:
        for name in sorted(sample):
            for special in specials:
                yield (
                    f"{name}: {special}",
                    lambda sample=sample, name=name, special=special: _without(sample, name, special),
                )
            if specials and name.count("/") > 1:
                folder = name.rpartition("/")[0]
                yield f"{folder}: {_OUTSIDE}", lambda sample=sample, folder=folder: _in_a_link(sample, folder)
            for change, make in bombs(name, sample[name]):
                yield (
                    f"{name}: {change}",
                    lambda sample=sample, name=name, change=change, make=make: Input(
                        f"{name}: {change}", {**sample, name: make()}, {}
                    ),
                )


def _without(sample: Files, name: str, special: str) -> Input:
    files = {path: content for path, content in sample.items() if special != "missing" or path != name}
    return Input(f"{name}: {special}", files, {name: special} if special != "missing" else {})


def _in_a_link(sample: Files, folder: str) -> Input:
    """Returns an input with a folder that is a link to one beside the input, where files of the user are."""
    files = {path: content for path, content in sample.items() if not path.startswith(f"{folder}/")}
    return Input(f"{folder}: {_OUTSIDE}", files, {folder: _OUTSIDE})


def _changed_bytes(name: str, content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Returns bytes with some of them changed, and how."""
    data = bytearray(content)
    start = rng.randrange(len(data) or 1)
    length = min(rng.choice((1, 4, 16, _BLOCK)), len(data) - start)
    match rng.randrange(8):
        case 0 | 1:
            flips = [rng.randrange(8 * len(data)) for _ in range(rng.choice((1, 1, 2, 8, 64)))] if data else []
            for bit in flips:
                data[bit // 8] ^= 1 << bit % 8
            return f"bits {flips[:4]} flipped", bytes(data)
        case 2:
            data[start : start + length] = rng.randbytes(length)
            return f"{length} other bytes from {start}", bytes(data)
        case 3 | 4:
            word = rng.choice(_WORDS)
            data[start : start + len(word)] = word
            return f"{word[:8]!r} at {start}", bytes(data)
        case 5:
            data[start:start] = data[start : start + length] * rng.choice((1, 1, 100))
            return f"{length} bytes from {start} repeated", bytes(data)
        case 6:
            del data[start : start + length]
            return f"{length} bytes from {start} removed", bytes(data)
        case _:
            other = rng.randrange(len(data) or 1)
            block = bytes(data[other : other + length])
            data[other : other + length] = data[start : start + len(block)]
            data[start : start + len(block)] = block
            return f"{length} bytes from {start} and {other} swapped", bytes(data)
