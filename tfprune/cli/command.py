"""What surrounds every command: settings, work, one line if something is wrong, an exit code."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from tfprune.cli.quiet import quiet_tensorflow
from tfprune.cluster import Cluster
from tfprune.console import silence
from tfprune.errors import TfpruneError, WorkerError

Config = TypeVar("Config")
USER_ERROR = 2
WORKER_LOST = 75
INTERRUPTED = 130
READER_GONE = 141
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def run_command(
    prog: str, settings: Callable[[], Config], work: Callable[[Config], object], *, interrupted: str = "stopped"
) -> int:
    """Reads a command's settings, does its work, and turns what the user can mend into one line on standard error.

    TensorFlow is imported between the two, quietly, so that `--help` and wrong flags do not wait for it.

    Args:
        prog: Name of the program, put before messages.
        settings: Reads the settings; must not need TensorFlow.
        work: Does the work; imports what it needs.
        interrupted: What to say after Ctrl-C.

    Returns:
        The exit code: 0; 2 after something the user can mend; 75 after another worker was lost, when all may be started
        again; 130 after Ctrl-C; 141 if whoever read the output left.
    """
    speaker = prog
    try:
        config = settings()
        worker = _worker(config)
        speaker = f"{prog}: {worker.title}" if worker else prog
        quiet_tensorflow()
        with nullcontext() if worker is None or worker.is_chief else silence():
            work(config)
        sys.stdout.flush()
    except TfpruneError as error:
        print(f"{speaker}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return WORKER_LOST if isinstance(error, WorkerError) else USER_ERROR
    except KeyboardInterrupt:
        print(f"{speaker}: {interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return READER_GONE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print(f"{speaker}: error: {_no_room(error)}", file=sys.stderr)
            return USER_ERROR
        error.add_note(f"in {speaker}")
        raise
    return 0


def _no_room(error: OSError) -> str:
    """A disk that is full where nobody reckoned with it, as with the temporary files of libraries."""
    where = f" ({error.filename})" if error.filename else ""
    return f"cannot write a file{where}: {error.strerror}; make room, also for temporary files"


def _worker(config: object) -> Cluster | None:
    """Which of several workers this process is; None if it works alone."""
    return Cluster.from_environment() if getattr(config, "strategy", None) == "multi_worker" else None
