"""What is shown on the console: text, a progress indicator, warnings, and two ways to suppress output.

`report_console` is standard output, `working` shows that something is going on, `plain_warnings` shows warnings as one
line each. `silence` drops everything that Python prints, as all workers but the chief
do. `quiet` drops warnings, log lines and what compiled code writes to stderr, as conversions of models do.
"""

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from tqdm import tqdm

from tfprune.tables import WIDTH

_WIDE = 240  # characters per line if the output is not a terminal
_LOUD = ("absl", "tensorflow", "tf2onnx")


@contextmanager
def silence() -> Iterator[None]:
    """Drops what Python prints while the block runs, progress bars and warnings included; exceptions pass through."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


class _Console(Console):
    """A console that does not break lines, and leaves it to the program to end when nobody reads its output."""

    def __init__(self, **options: Any) -> None:
        if os.environ.get("NO_COLOR"):
            options["color_system"] = None
        super().__init__(highlight=False, soft_wrap=True, **options)

    def on_broken_pipe(self) -> None:
        """Raises the `BrokenPipeError` that is being handled."""
        raise


def report_console() -> Console:
    """Returns standard output as a console of at least 80 characters per line; 240 if it is not a terminal.

    The environment variable `COLUMNS` gives another number in both cases.
    With the environment variable `NO_COLOR` it has no colors and no bold or dim text.
    """
    console = _Console()
    known = console.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return _Console(width=max(WIDTH, console.width) if known else _WIDE)


@contextmanager
def working(text: str) -> Iterator[Live]:
    """Shows a progress indicator on stderr while the context lasts, if stderr is a terminal.

    Args:
        text: What is going on, such as `loading the model`.

    Yields:
        The indicator; `stop` and `start` let other text be printed between.
    """
    console = _Console(stderr=True)
    # Standard output is left as it is: what is printed there meanwhile may be for a file.
    with Live(Spinner("dots", f"{text} ..."), console=console, transient=True, redirect_stdout=False) as indicator:
        yield indicator


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Shows each warning as one line, `warning: text`, without the place in the code, while the block runs."""

    def show(message: Warning | str, *place: Any, **more: Any) -> None:
        tqdm.write(f"warning: {' '.join(str(message).split())}", file=sys.stderr)  # not on the line of a progress bar

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Drops warnings, log lines, and what compiled code writes to stderr, while the block runs.

    Errors in the block must be exceptions: nothing else reaches the user.
    """
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for name in _LOUD:
            stack.enter_context(_logger_off(logging.getLogger(name)))
        stack.enter_context(_standard_error_off())
        stack.enter_context(redirect_stderr(io.StringIO()))  # in notebooks it is not that of compiled code
        yield


@contextmanager
def _logger_off(logger: logging.Logger) -> Iterator[None]:
    """Disables a logger while the block runs."""
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _standard_error_off() -> Iterator[None]:
    """Redirects file descriptor 2, which compiled code writes to, while the block runs."""
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # a process without stderr has nothing to drop
        yield
        return
    try:
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
