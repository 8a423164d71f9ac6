"""The processes of a run, as seen from outside."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker_environments import worker_environments

ROOT = Path(__file__).parents[1]


@dataclass
class Life:
    """The processes of a run from a start to their end: one, or as many as there are workers.

    Attributes:
        run: The run's folder.
        logs: What each process says.
        processes: They; the first is the chief.
        started: When, in seconds since the epoch.
        seconds: Times of the stages as the processes found them.
    """

    run: Path
    logs: tuple[Path, ...]
    processes: tuple[subprocess.Popen, ...]
    started: float
    seconds: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self._times()

    @classmethod
    def begin(cls, words: Sequence[str], folder: Path, workers: int) -> "Life":
        """Starts a command, its run's folder being `run` in a folder that is made."""
        (folder / "run").mkdir(parents=True, exist_ok=True)
        logs = tuple(folder / f"log{rank}.txt" for rank in range(workers))
        processes, started = [], time.time()
        for log, environment in zip(logs, worker_environments(workers), strict=True):
            environment |= {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            with log.open("w") as output:
                command = [sys.executable, *words]
                processes.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )
        return cls(folder / "run", logs, tuple(processes), started)

    @property
    def ended(self) -> bool:
        """Whether the chief is no more."""
        return self.processes[0].poll() is not None

    def codes(self, patience: float) -> list[int | None]:
        """The exit codes of all processes; None, and a kill, for those that do not end in so many seconds."""
        deadline = time.monotonic() + patience
        return [_code(process, deadline) for process in self.processes]

    def wrote(self, name: str) -> bool:
        """Whether they have written a file."""
        try:
            return (self.run / name).stat().st_mtime >= self.started
        except FileNotFoundError:
            return False

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
