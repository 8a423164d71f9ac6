"""What surrounds every command: settings, work, one line if something is wrong, an exit code."""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from tfprune.cli.quiet import quiet_tensorflow
from tfprune.errors import TfpruneError

Config = TypeVar("Config")

USER_ERROR = 2
INTERRUPTED = 130
READER_GONE = 141


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
        The exit code: 0; 2 after something the user can mend; 130 after Ctrl-C; 141 if whoever read the output left.
    """
    try:
        config = settings()
        quiet_tensorflow()
        work(config)
        sys.stdout.flush()
    except TfpruneError as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"{prog}: {interrupted}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return READER_GONE
    return 0
