"""The processes of a run, as seen from outside."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from soak_files import Snapshot, snapshot
from worker_environments import worker_environments

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: What it is called.
        begun: Whether the processes have come to it.
    """

    name: str
    begun: Callable[["Life"], bool]


@dataclass
class Life:
    """The processes of a run from a start to their end: one, or as many as there are workers.

    Attributes:
        run: The run's folder.
        logs: What each process says.
        processes: They; the first is the chief.
        started: When, in seconds since the epoch.
        seconds: Times of the stages as the processes found them.
        began: CPU seconds of the chief at which it was first seen in each stage, see `watch`.
    """

    run: Path
    logs: tuple[Path, ...]
    processes: tuple[subprocess.Popen, ...]
    started: float
    seconds: dict[str, float] = field(init=False)
    began: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seconds = self._times()

    @classmethod
    def begin(cls, words: Sequence[str], folder: Path, workers: int = 1, log: str = "log") -> "Life":
        """Starts a command, its run's folder being `run` in a folder that is made; each process has its log."""
        (folder / "run").mkdir(parents=True, exist_ok=True)
        logs = tuple(folder / f"{log}{rank}.txt" for rank in range(workers))
        processes, started = [], time.time()
        for path, environment in zip(logs, worker_environments(workers), strict=True):
            environment |= {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            with path.open("w") as output:
                command = [sys.executable, *words]
                processes.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )
        return cls(folder / "run", logs, tuple(processes), started)

    @property
    def ended(self) -> bool:
        """Whether the chief is no more."""
        return self.processes[0].poll() is not None

    def watch(self, stages: Sequence[Stage]) -> str:
        """Notes which stages have begun, and returns the last of them; the first one begins with the process."""
        spent = self.cpu_seconds()
        for stage in stages:
            if stage.name not in self.began and stage.begun(self):
                self.began[stage.name] = spent if self.began else 0.0
        return [stage.name for stage in stages if stage.name in self.began][-1]

    def codes(self, patience: float) -> list[int | None]:
        """The exit codes of all processes; None, and a kill, for those that do not end in so many seconds."""
        deadline = time.monotonic() + patience
        return [_code(process, deadline) for process in self.processes]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the chief where it is while the block runs."""
        self.processes[0].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.processes[0].send_signal(signal.SIGCONT)

    def wrote(self, name: str) -> bool:
        """Whether they have written a file, or a file that a pattern names."""
        times = [when for file, (when, _) in snapshot(self.run).items() if fnmatch(file, name)]
        return any(when >= self.started for when in times)

    def saved_since(self, before: Snapshot) -> bool:
        """Whether they have begun to write since a `snapshot`: a model, a checkpoint, a table, but not events."""
        now = snapshot(self.run)
        return any(now.get(name) != before.get(name) and "events" not in name for name in now)

    def timed(self, stage: str) -> bool:
        """Whether they have come to the end of a stage whose time the run keeps."""
        return self._times().get(stage, 0.0) > self.seconds.get(stage, 0.0)

    def said(self, text: str) -> bool:
        """Whether the chief has printed something."""
        return text in self.logs[0].read_text()

    def last_words(self) -> str:
        """What the processes said in the end."""
        return " | ".join(log.read_text()[-500:] for log in self.logs)

    def cpu_seconds(self) -> float:
        """CPU time that the chief has taken so far; as much as ever was wanted if it is no more."""
        try:
            fields = Path(f"/proc/{self.processes[0].pid}/stat").read_text().rsplit(") ", 1)[1].split()
        except FileNotFoundError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _times(self) -> dict[str, float]:
        file = self.run / "seconds.json"
        return json.loads(file.read_text()) if file.exists() else {}


def _code(process: subprocess.Popen, deadline: float) -> int | None:
    try:
        return process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
