"""A process that has imported all readers and reads each input in a child of its own, within limits.

It is started by `hostile.Reader`, takes orders as JSON lines and answers each with one. It never runs anything of
TensorFlow itself: the threads of TensorFlow would not be in its children.
"""

import faulthandler
import gc
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfprune.errors import TfpruneError

MEMORY = 1 << 30
CPU_SECONDS = 20
WALL_SECONDS = 120
IDLE_SECONDS = 15
LONGEST_FILE = 1 << 28
LONGEST_LINE = 400
_NO_MEMORY = re.compile(
    r"bad_alloc|ResourceExhausted|[Oo]ut of memory|OOM when|[Cc](an't|annot) allocate|Unable to allocate"
)
TRAP = "hostile_trap"
"""A module that is nowhere: a file that gets it looked for would get any other one imported."""
_FORBIDDEN = ("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "socket.")
_ALONE = ("os.system", "os.fork", "os.forkpty", "os.kill", "os.killpg")
_HARMLESS = ("socket.__new__", "socket.gethostname")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def judged(message: str) -> str:
    """Returns what is wrong with the message of a refusal; nothing if it is one short line of text."""
    if len(message.splitlines()) != 1:
        return f"a message of {len(message.splitlines())} lines"
    if len(message) >= LONGEST_LINE:
        return f"a message of {len(message)} characters"
    return "" if message.isprintable() else "a message with characters that cannot be printed"


def caused_by_memory(error: BaseException | None) -> bool:
    """Returns whether an error, or one that it comes from, says that there is no more memory.

    Python's parser raises a `MemoryError` for what is nested too deeply, which is none.
    """
    while error is not None:
        parsed = _lines(error)[-1:] and "ast.py" in _lines(error)[-1]
        if (isinstance(error, MemoryError) and not parsed) or _NO_MEMORY.search(
            f"{type(error).__name__} {error}"[:2000]
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


class Watch:
    """Notes what a reader changes outside of a folder, and whether it starts programs, connects, or imports the trap.

    Args:
        folder: What happens in it is allowed.
        program: A program of Python that may be started, as its text; none if it is empty.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.seen: list[str] = []
        self._command = [sys.executable, "-c", program]
        self._folder = str(folder.resolve())

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Gets an event of Python before it happens, see `sys.addaudithook`."""
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and (
                set(mode or "") & set("wax+") or (flags or 0) & _WRITES
            ):
                self._check(event, path, None, whole=True)
        elif event in _CHANGES:
            handles = [each for each in arguments if isinstance(each, int) and each >= 0]
            for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(event, path, handles[-1] if handles and event != "os.mkdir" else None, whole=False)
        elif event == "subprocess.Popen" and self._command[2] and list(arguments[1])[:3] == self._command:
            pass
        elif event in _ALONE or (event.startswith(_FORBIDDEN) and event not in _HARMLESS):
            self.seen.append(f"{event} {arguments!r:.80}")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Gets the name of a module before it is imported, see `sys.meta_path`: not each import is an event."""
        if name.partition(".")[0] == TRAP:
            self.seen.append(f"import {name:.80}")

    def _check(self, event: str, path: Any, handle: int | None, *, whole: bool) -> None:
        name = os.fsdecode(path)
        if not os.path.isabs(name) and handle is not None and event != "os.chmod":
            name = os.path.join(os.readlink(f"/proc/self/fd/{handle}"), name)
        real = os.path.realpath(name) if whole else os.path.join(os.path.realpath(os.path.dirname(name)), "x")
        if real != os.devnull and not real.startswith(self._folder + os.sep):
            self.seen.append(f"{event} {name:.80}")


def read(form: Any, folder: Path) -> dict[str, Any]:
    """Returns how the reading of an input ended, with what it says."""
    watch = Watch(folder, form.program)
    sys.addaudithook(watch)
    sys.meta_path.insert(0, watch)
    began = time.process_time()
    memory = False
    try:
        form.read(folder)
    except TfpruneError as error:
        told, memory = str(error), caused_by_memory(error)
        wrong = judged(told)
        outcome = (
            {"outcome": "message", "told": f"{wrong}: {told[:600]!r}"}
            if wrong
            else {"outcome": "refused", "told": told}
        )
    except BaseException as error:  # a traceback, where a user would see it
        memory = caused_by_memory(error)
        outcome = {"outcome": "traceback", "told": f"{type(error).__name__}: {str(error)[:300]!r} {_place(error)}"}
    else:
        outcome = {"outcome": "accepted", "told": ""}
    if memory:
        outcome = {"outcome": "memory", "told": f"asked for more: {outcome['told']}"}
    if watch.seen:
        outcome = {"outcome": "escape", "told": "; ".join(watch.seen[:3])}
    return outcome | {"seconds": time.process_time() - began}


def _place(error: BaseException) -> str:
    """Returns where an error was raised: the last line in tfprune, and the last of all."""
    lines = _lines(error)
    ours = [line for line in lines if f"{os.sep}tfprune{os.sep}" in line]
    return " ".join(dict.fromkeys([*ours[-1:], *lines[-1:]]))


def _lines(error: BaseException) -> list[str]:
    """Returns the files and lines that an error has passed, the one that raised it last."""
    return [f"{frame.f_code.co_filename}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)]


def confine(folder: Path, log: Path, *, limited: bool) -> None:
    """Moves this process and its output, and sets its limits."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()
    faulthandler.register(signal.SIGXCPU, chain=True)
    os.chdir(folder)
    own = folder / "tmp"
    own.mkdir(exist_ok=True)
    tempfile.tempdir = str(own)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not limited:
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST_FILE, LONGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 2))
    address_space = pages(0) + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))


def pages(which: int) -> int:
    """Returns bytes of this process: of addresses (0), or resident (1)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[which]) * resource.getpagesize()


def in_child(call: Any, log: Path, folder: Path, *, limited: bool = True) -> dict[str, Any]:
    """Runs a function in a child, and returns its result, with the reason if it did not end."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(receive)
            confine(folder, log, limited=limited)
            os.write(send, f"{pages(1)}\n".encode())
            os.write(send, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(send)
    answer, late = _all_of(receive, child)
    os.close(receive)
    if late:
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    start, _, result = answer.partition(b"\n")
    grown = usage.ru_maxrss * 1024 - int(start or 0)
    said = {"bytes": grown, "seconds": usage.ru_utime + usage.ru_stime}
    if late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return said | {"outcome": "hang", "told": _last_words(log)}
    if os.WIFSIGNALED(status) or not result:
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "no answer"
        return said | {"outcome": "death", "told": f"{name}: {_last_words(log)}"}
    found = said | json.loads(result)
    if grown > MEMORY:
        found |= {"outcome": "memory", "told": f"{grown >> 20} MB: {found['told']}"}
    return found


def _all_of(handle: int, child: int) -> tuple[bytes, bool]:
    """Returns what a child writes to a pipe until it ends, and whether it takes too long, or waits for something."""
    parts = []
    began = since = time.monotonic()
    used = -1
    while True:
        ready, _, _ = select.select([handle], [], [], 0.5)
        if ready:
            part = os.read(handle, 1 << 16)
            if not part:
                return b"".join(parts), False
            parts.append(part)
            continue
        now = time.monotonic()
        if (ticks := _ticks(child)) != used:
            used, since = ticks, now
        if now - began > WALL_SECONDS or now - since > IDLE_SECONDS:
            return b"".join(parts), True


def _ticks(process: int) -> int:
    """Returns the CPU time of a process in the system's unit."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _last_words(log: Path) -> str:
    """Returns the first lines of what a process wrote, where a fault handler says in which line it was."""
    lines = (
        [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
        if log.exists()
        else []
    )
    return " | ".join(line for line in lines if line)[:600]


def listing(folder: Path, besides: Path) -> list[tuple[str, int, int]]:
    """Returns names, sizes and times of all that is in a folder, without one folder in it."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if os.path.join(place, name) != str(besides)]
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            state = os.lstat(path)
            found.append((path, state.st_size, state.st_mtime_ns if name in files else 0))
    return sorted(found)


def answers(orders: Iterable[str]) -> Iterable[dict[str, Any]]:
    """Carries orders out, one after the other."""
    warnings.simplefilter("ignore")
    import hostile_formats

    gc.freeze()  # children share this memory for as long as nobody visits it
    yield {"ready": {name: (form.says, form.share, form.in_files) for name, form in hostile_formats.FORMATS.items()}}
    for line in orders:
        order = json.loads(line)
        form = hostile_formats.FORMATS[order["format"]]
        place = Path(order["place"])
        folder, log = place / "input", place / "log.txt"
        if order["do"] == "make":
            yield in_child(lambda form=form, folder=folder: _made(form, folder), log, folder, limited=False)
            continue
        log.touch()
        before = listing(place, folder)
        answer = in_child(lambda form=form, folder=folder: read(form, folder), log, folder)
        log_kept = [each for each in listing(place, folder) if each[0] != str(log)]
        if log_kept != [each for each in before if each[0] != str(log)]:
            told = f"files beside the input's folder were changed; {answer['told']}"
            answer |= {"outcome": "escape", "told": told}
        yield answer


def _made(form: Any, folder: Path) -> dict[str, Any]:
    """Writes the valid files of a format, one folder for each sample."""
    form.make(folder)
    return {"outcome": "made", "told": ""}


def main() -> None:
    """Answers until its input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for answer in answers(sys.stdin):
        out.write(json.dumps(answer) + "\n")
        out.flush()
