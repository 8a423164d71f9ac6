"""What is shown on the console: a progress indicator, and two ways to suppress output.

`working` shows that something is going on. `silence` drops everything that Python prints, as all workers but the chief
do. `quiet` drops warnings, log lines and what compiled code writes to stderr, as conversions of models do.
"""

import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr, redirect_stdout

from rich.console import Console

_LOUD = ("absl", "tensorflow", "tf2onnx")


@contextmanager
def silence() -> Iterator[None]:
    """Drops what Python prints while the block runs, progress bars and warnings included; exceptions pass through."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def working(text: str) -> AbstractContextManager[object]:
    """Shows a progress indicator on stderr while the context lasts, if stderr is a terminal.

    Args:
        text: What is going on, such as `loading the model`.
    """
    return Console(stderr=True).status(f"{text} ...")


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
