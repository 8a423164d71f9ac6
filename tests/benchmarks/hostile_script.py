"""Readers that do what no reader should, for `hostile_child`; prints how each reading ended, as JSON lines.

python hostile_script.py PLACE NAME ...
"""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

PROGRAM = "print('own')"
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from tfprune.errors import CheckpointError  # noqa: E402


class RawError(CheckpointError):
    """An error of tfprune whose message is as it was given."""

    def __init__(self, text):
        Exception.__init__(self, text)


def refuse(text):
    raise RawError(text)


def crash_after(cause):
    try:
        raise cause
    except BaseException as error:
        raise CheckpointError("it needs more memory than there is") from error


def allocate(folder):
    kept = [b"x" * (1 << 26) for _ in range(100)]
    return len(kept)


def spin(folder):
    while True:
        pass


READERS = {
    "reads": lambda folder: (folder / "a.txt").read_text(),
    "writes_inside": lambda folder: (folder / "b.txt").write_text("b"),
    "refuses": lambda folder: refuse("cannot read it: it is empty; write it again"),
    "long": lambda folder: refuse("x" * 400),
    "two_lines": lambda folder: refuse("a\nb"),
    "colors": lambda folder: refuse("\x1b[31mred"),
    "traceback": lambda folder: {}["missing"],
    "exit": lambda folder: sys.exit(2),
    "recursion": lambda folder: READERS["recursion"](folder),
    "allocates": allocate,
    "caught_memory": lambda folder: crash_after(MemoryError()),
    "dies": lambda folder: os._exit(3),
    "killed": lambda folder: os.abort(),
    "spins": spin,
    "waits": lambda folder: time.sleep(100),
    "removes": lambda folder: shutil.rmtree(folder.parent / "beside"),
    "removes_by_name": lambda folder: os.remove("../beside/kept.txt"),
    "writes": lambda folder: (folder.parent / "new.txt").write_text("new"),
    "moves": lambda folder: (folder / "a.txt").rename(folder.parent / "beside" / "a.txt"),
    "starts": lambda folder: subprocess.run(["true"], check=True),
    "starts_its_own": lambda folder: subprocess.run([sys.executable, "-c", PROGRAM], check=True),
    "starts_a_shell": lambda folder: os.system("true"),
    "imports": lambda folder: importlib.import_module("hostile_trap"),
    "connects": lambda folder: socket.socket(socket.AF_UNIX).connect_ex(str(folder / "a.txt")),
}


def main(place, *names):
    import hostile_child

    hostile_child.CPU_SECONDS, hostile_child.IDLE_SECONDS = 1, 1
    forms = {
        name: types.SimpleNamespace(read=READERS[name], says="", share=1, in_files=True, program=PROGRAM)
        for name in names
    }
    sys.modules["hostile_formats"] = types.SimpleNamespace(FORMATS=forms)
    orders = []
    for name in names:
        own = Path(place) / name
        (own / "input").mkdir(parents=True)
        (own / "beside").mkdir()
        for file in ("input/a.txt", "beside/kept.txt"):
            (own / file).write_text("kept")
        orders.append(json.dumps({"do": "read", "format": name, "place": str(own)}))
    _, *answers = hostile_child.answers(orders)
    for name, answer in zip(names, answers, strict=True):
        print(json.dumps({"name": name, **answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
