"""Ctrl-C that waits for the end of the step."""

import signal
import threading
from types import FrameType, TracebackType

# The second is what schedulers send some time before they kill.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulInterrupt:
    """While entered, the first SIGINT or SIGTERM sets `requested`; the second raises `KeyboardInterrupt` at once.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> "GracefulInterrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._handle) for each in _SIGNALS}  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, previous in self._previous.items():
            signal.signal(each, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping after this step (Ctrl-C again: at once)", flush=True)
