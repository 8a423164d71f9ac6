"""How long the stages of a run took, over all the processes that worked on it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfprune.files import write_text


class StageTimes:
    """Seconds per stage, kept in a file, so that a resumed run adds to what was spent before.

    Args:
        path: The JSON file; what it holds is taken over.

    Attributes:
        seconds: Wall time per stage.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what runs inside, also if it is interrupted. A process that is killed leaves no time."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
            write_text(self._path, json.dumps(self.seconds) + "\n")
