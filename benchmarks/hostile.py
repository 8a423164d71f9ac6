"""Broken and hostile files of every format that tfprune reads, each read in a process of its own within limits.

Valid small files are made of each format. Of each, files are cut at every offset (of larger ones at offsets between),
bytes are changed, repeated, removed and swapped, parts of what they mean are replaced with checksums kept valid, and
bombs are put in: deep nesting, shared references, gigabytes of zeros in archives, huge counts and shapes, wrong types,
names that lead elsewhere, pipes and endless files. An input must be read, or refused by an error of tfprune in one line
of less than 400 characters. Anything else is a failure: another exception, a death, 20 seconds of CPU time, a gigabyte
of memory, or something done outside of the input's folder.

    python benchmarks/hostile.py --inputs 10000 --seed 0 --jobs 4 --out benchmarks/results/hostile.csv \\
        --page docs/security.md

A failure is kept, with what happened, and can be read again:

    python benchmarks/hostile.py --read pkl failures/pkl-17

Exit code 1 if there was a failure.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hostile_child import CPU_SECONDS, MEMORY
from hostile_mutations import inputs, read_input
from pages import rewrite
from program import new_parser, processor_name, write_rows

FAILURES = ("traceback", "death", "hang", "memory", "escape", "message")
_HERE = Path(__file__).resolve().parent
_GOOD = ("accepted", "refused")
_NAMES = {"traceback": "tracebacks", "death": "deaths", "hang": "hangs", "memory": f"over {MEMORY >> 30} GB"}
_NAMES |= {"escape": "escapes", "message": "wrong messages"}
_BESIDE = ("training.csv", "training.jsonl", "checkpoint", "ckpt-9.index", "events.out.tfevents.1", "shard-00009.npy")
"""Files beside an input, by names that a run gives its own."""
_PART = "hostile.py"


class Reader:
    """The process that reads inputs, see `hostile_child`.

    Args:
        place: An empty folder of its own.

    Attributes:
        formats: What each format is, in words, its part of the inputs, and whether it is in files, by name.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        (place / "beside" / "folder").mkdir(parents=True)
        for name in ("outside", *(f"beside/{name}" for name in _BESIDE)):
            (place / name).write_text("kept", encoding="utf-8")
        fixed = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "COLUMNS": "80"}
        fixed |= {
            "MALLOC_ARENA_MAX": "2",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{_HERE}{os.pathsep}{_HERE.parent}",
        }
        command = [sys.executable, "-c", "from hostile_child import main; main()"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=os.environ | fixed, text=True, **pipes)
        self.formats: dict[str, tuple[str, float, bool]] = self._answer()["ready"]

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes both pipes and waits
            pass

    @property
    def folder(self) -> Path:
        """Where the input that is read next has to be."""
        return self._place / "input"

    def samples(self, name: str) -> list[dict[str, bytes]]:
        """Returns valid inputs of a format, which are made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self._asked("make", name)
        made = [read_input(folder) for folder in sorted(self.folder.iterdir()) if folder.name != "tmp"]
        shutil.rmtree(self.folder)
        return made

    def read(self, name: str) -> dict[str, Any]:
        """Returns how the reading of the input in `folder` ended."""
        return self._asked("read", name)

    def _asked(self, do: str, name: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        order = {"do": do, "format": name, "place": str(self._place)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the reading process ended with exit code {self._process.wait()}")
        return json.loads(line)


def counts_of(total: int, formats: dict[str, tuple[str, float, bool]], chosen: Sequence[str]) -> dict[str, int]:
    """Returns how many of all inputs each format gets, in proportion to its part, one at least."""
    parts = sum(formats[name][1] for name in chosen)
    counts = {name: max(1, int(total * formats[name][1] / parts)) for name in chosen}
    counts[chosen[0]] += max(0, total - sum(counts.values()))
    return counts


def tried(reader: Reader, name: str, count: int, seed: int, failures: Path) -> dict[str, Any]:
    """Reads changed inputs of a format.

    Args:
        reader: The process.
        name: Name of the format.
        count: How many inputs.
        seed: Decides the changes.
        failures: Where inputs that fail are kept.

    Returns:
        A row for the table.
    """
    samples = reader.samples(name)
    for sample in samples:
        _write(reader.folder, sample)
        if (answer := reader.read(name))["outcome"] != "accepted":
            raise SystemExit(f"{name}: a valid input is not accepted: {answer['outcome']}: {answer['told']}")
    seen: Counter[str] = Counter()
    seconds = most = 0.0
    for number, made in enumerate(inputs(samples, count, f"{seed}/{name}", in_files=reader.formats[name][2])):
        made.write(reader.folder)
        answer = reader.read(name)
        seen[answer["outcome"]] += 1
        seconds, most = max(seconds, answer["seconds"]), max(most, answer["bytes"])
        if answer["outcome"] in FAILURES:
            place = failures / f"{name}-{number}"
            made.write(place)
            what = f"{name}-{number}: {made.change}: {answer['outcome']}: {answer['told']}"
            (failures / f"{name}-{number}.txt").write_text(f"{what}\n", encoding="utf-8", errors="replace")
            print(what[:400], flush=True)
    shutil.rmtree(reader.folder)
    row = {"format": name, "inputs": count} | {each: seen[each] for each in (*_GOOD, *FAILURES)}
    return row | {"seconds": round(seconds, 1), "megabytes": round(most / 1e6)}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    from hostile_mutations import Input

    Input("", files, {}).write(folder)


def table(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Returns the lines of a table in 80 columns, as Markdown has it, with a line for all formats together."""
    rows = list(rows)
    head = ("inputs", "read", "refused", "failed")
    lines = [f"| {'format':<9} | " + " | ".join(f"{name:>7}" for name in head) + " |"]
    lines.append(f"|:{'-' * 9}-|" + "|".join("-" * 8 + ":" for _ in head) + "|")
    total: dict[str, Any] = {name: sum(int(row[name]) for row in rows) for name in ("inputs", *_GOOD, *FAILURES)}
    for row in (*rows, total | {"format": "all"}):
        cells = (row["inputs"], *(row[name] for name in _GOOD), sum(int(row[name]) for name in FAILURES))
        lines.append(f"| {row['format']:<9} | " + " | ".join(f"{cell:>7}" for cell in cells) + " |")
    told = ", ".join(f"{total[name]} {_NAMES[name]}" for name in FAILURES)
    return [*lines, "", f"{told}."]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=[], help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="reading processes at a time")
    parser.add_argument("--failures", type=Path, default=Path("failures"), help="where inputs that fail are kept")
    parser.add_argument("--read", nargs=2, metavar=("FORMAT", "FOLDER"), help="reads one input that was kept")
    parser.add_argument("--out", type=Path, help="a CSV file for the rows")
    parser.add_argument("--page", type=Path, help="a page of the documentation for the table")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads, prints, writes files if asked to."""
    arguments = make_parser().parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        if arguments.read:
            return read_again(root, *arguments.read)
        with Reader(root / "first") as reader:
            formats = reader.formats
        if unknown := set(arguments.formats) - set(formats):
            print(f"--formats: expected {', '.join(formats)}, received {', '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        counts = counts_of(arguments.inputs, formats, arguments.formats or list(formats))

        def work(name: str) -> dict[str, Any]:
            with Reader(root / name) as reader:
                row = tried(reader, name, counts[name], arguments.seed, arguments.failures)
            failed = sum(row[each] for each in FAILURES)
            said = f"{name}: {row['inputs']} inputs, {row['accepted']} read, {row['refused']} refused, {failed} failed"
            said += f"; at most {row['seconds']} s of CPU time and {row['megabytes']} MB"
            print(f"{said}; {time.monotonic() - began:.0f} s", flush=True)
            return row

        with ThreadPoolExecutor(arguments.jobs) as pool:
            rows = list(pool.map(work, counts))
    lines = [*table(rows), "", f"Seed {arguments.seed}, {processor_name()}, {os.cpu_count()} cores, "]
    lines[-1] += f"{arguments.jobs} at a time, {(time.monotonic() - began) / 60:.0f} minutes."
    print(*lines, sep="\n")
    if arguments.out:
        write_rows(arguments.out, rows)
    if arguments.page:
        meaning = [f"- `{name}`: {formats[name][0]}" for name in counts]
        rewrite(arguments.page, _PART, "\n".join([*lines, "", *meaning]))
    return 1 if any(row[name] for row in rows for name in FAILURES) else 0


def read_again(root: Path, name: str, folder: str) -> int:
    """Reads an input that was kept, in a copy of its folder, and prints what happens."""
    with Reader(root / "first") as reader:
        if name not in reader.formats:
            print(f"--read: expected {', '.join(reader.formats)}, received {name}", file=sys.stderr)
            return 2
        subprocess.run(["cp", "-a", folder, str(reader.folder)], check=True)
        answer = reader.read(name)
    print(f"{answer['outcome']}: {answer['told']}")
    print(f"{answer['seconds']:.1f} s of {CPU_SECONDS}, {answer['bytes'] / 1e6:.0f} MB of {MEMORY / 1e6:.0f}")
    return 1 if answer["outcome"] in FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
