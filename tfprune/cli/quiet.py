"""TensorFlow without its chatter."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def quiet_tensorflow() -> None:
    """Imports TensorFlow with nothing but real errors on the screen, from now on.

    Some of its messages at import (oneDNN, CUDA drivers) obey no setting, therefore standard error is held back
    meanwhile. A user who has set `TF_CPP_MIN_LOG_LEVEL` to 0 sees everything.

    Raises:
        ImportError: TensorFlow cannot be imported; what it wrote has been printed then.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0" or "tensorflow" in sys.modules:
        return
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _standard_error_held_back():
        import tensorflow  # noqa: F401


@contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Swallows what anything in this process writes to standard error; prints it after all if that ends in an error."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        screen = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(screen, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
