"""A process that prints nothing."""

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
    """Inside, what Python prints is lost, progress bars and warnings included; exceptions go their way."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def working(text: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal's standard error, for as long as the context lasts; nothing elsewhere."""
    return Console(stderr=True).status(f"{text} ...")


@contextmanager
def quiet() -> Iterator[None]:
    """Drops warnings, log lines, and what compiled code writes to the standard error, while the block runs.

    What goes wrong in the block must reach the caller as an exception: nothing else will.
    """
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        for name in _LOUD:
            stack.enter_context(_logger_off(logging.getLogger(name)))
        stack.enter_context(_standard_error_off())
        stack.enter_context(redirect_stderr(io.StringIO()))  # in notebooks it is another than the compiled code's
        yield


@contextmanager
def _logger_off(logger: logging.Logger) -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _standard_error_off() -> Iterator[None]:
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # a process without a standard error has nothing to silence
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
