"""What surrounds every command: a quiet start, one-line errors, exit codes."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tfprune.errors import TfpruneError

USER_ERROR = 2
INTERRUPTED = 130


def run_command(work: Callable[[], object], *, prog: str) -> int:
    """Runs a command's work and turns what can go wrong into one line.

    Args:
        work: The work; imports TensorFlow itself, if it needs it.
        prog: Name of the program, put before messages.

    Returns:
        The exit code: 0, 2 after something the user can mend, 130 after Ctrl-C.
    """
    try:
        with quiet_import():
            import tensorflow  # noqa: F401
        work()
    except TfpruneError as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"\n{prog}: stopped; what was done is kept, continue with --resume", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


@contextmanager
def quiet_import() -> Iterator[None]:
    """Keeps TensorFlow's start-up notes off the screen; shows them after all if the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
