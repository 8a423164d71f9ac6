"""What surrounds every command: a config, the work, one line if something is wrong, an exit code."""

import errno
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import tfprune
from tfprune.cli.parser import first_paragraph, parse
from tfprune.cluster import Cluster
from tfprune.console import plain_warnings, silence
from tfprune.errors import TfpruneError, WorkerError, suggestion
from tfprune.tables import Column, make_table, paragraph

Config = TypeVar("Config")
USER_ERROR = 2
WORKER_LOST = 75
INTERRUPTED = 130
READER_GONE = 141
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_HELP = ("-h", "--help", "help")


def run_command(
    prog: str, settings: Callable[[], Config], work: Callable[[Config], object], *, interrupted: str = "stopped"
) -> int:
    """Reads a command's config, does its work, and reports errors that the user can fix in one line on standard error.

    TensorFlow is imported between the two, quietly, so that `--help` and wrong flags do not wait for it.

    Args:
        prog: Name of the program, put before messages.
        settings: Reads the config; must not need TensorFlow.
        work: Does the work; imports what it needs.
        interrupted: What to say after Ctrl-C.

    Returns:
        The exit code: 0; 2 after an error that the user can fix; 75 after another worker was lost, when all may be
        started again; 130 after Ctrl-C; 141 if the process that read the output has ended.
    """
    speaker = prog

    def run() -> None:
        nonlocal speaker
        config = settings()
        worker = _worker(config)
        speaker = f"{prog}: {worker.title}" if worker else prog
        quiet_tensorflow()
        with nullcontext() if worker is None or worker.is_chief else silence():
            work(config)

    try:
        with plain_warnings():
            return _printed(run)
    except TfpruneError as error:
        print(f"{speaker}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return WORKER_LOST if isinstance(error, WorkerError) else USER_ERROR
    except KeyboardInterrupt:
        print(f"{speaker}: {interrupted}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            print(f"{speaker}: error: {_no_space(error)}", file=sys.stderr)
            return USER_ERROR
        error.add_note(f"in {speaker}")
        raise


def _printed(action: Callable[[], object]) -> int:
    """Returns 0 after an action that prints, and 141 if the process that reads the output has ended.

    Lines are written at once, also into files and pipes, so that those of a killed process are not lost.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        try:
            action()
        finally:
            sys.stdout.flush()  # also before the exit after `--help`
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # or Python complains once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return READER_GONE
    return 0


def run_subcommand(
    arguments: Sequence[str] | None,
    commands: Mapping[str, type],
    work: Callable[[str, Any], object],
    *,
    prog: str,
    description: str,
    check: Callable[[Any], object] = lambda config: None,
    interrupted: str = "stopped",
) -> int:
    """Runs the command that the first word of a command line names, with the settings that follow.

    Args:
        arguments: The words. Default: those the program was started with.
        commands: Config classes by the command's name.
        work: Does the work, given the command's name and its config.
        prog: Name of the program.
        description: One sentence about the program, for the help.
        check: Checks the config further, before TensorFlow is imported.
        interrupted: What to say after Ctrl-C.

    Returns:
        The exit code, see `run_command`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in _HELP:
        return _printed(lambda: print(_help(commands, prog, description)))
    if words[0] == "--version":
        return _printed(lambda: print(f"{prog} {tfprune.__version__}"))
    name, *rest = words
    if name not in commands:
        near = suggestion(name, commands) or f"; there are {', '.join(commands)}"
        print(f"{prog}: error: unknown command {name!r}{near}", file=sys.stderr)
        return USER_ERROR

    def settings() -> Any:
        config: Any = parse(commands[name], rest, prog=f"{prog} {name}")
        check(config)
        return config

    return run_command(f"{prog} {name}", settings, lambda config: work(name, config), interrupted=interrupted)


def described(configs: Mapping[str, type]) -> str:
    """Returns the help for some config classes: their names and the first paragraphs of their docstrings."""
    rows = [(name, first_paragraph(config)) for name, config in configs.items()]
    return make_table([Column("", "name"), Column("", "text")], rows)


def quiet_tensorflow() -> None:
    """Imports TensorFlow so that, from now on, it prints real errors only.

    Some of its messages at import (oneDNN, CUDA drivers) obey no setting, so standard error is held back during the
    import. A user who has set `TF_CPP_MIN_LOG_LEVEL` to 0 sees everything.

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
    """Discards what this process writes to standard error meanwhile; prints it if an error is raised."""
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


def _help(commands: Mapping[str, type], prog: str, description: str) -> str:
    lines = [f"usage: {prog} COMMAND [ARGUMENTS ...]", "", paragraph(description), "", "commands:", described(commands)]
    return "\n".join([*lines, "", f"`{prog} COMMAND --help` lists the settings of a command."])


def _no_space(error: OSError) -> str:
    """Returns the message on a disk that is full where the program does not write itself, such as temporary files."""
    where = f" ({error.filename})" if error.filename else ""
    return f"cannot write a file{where}: {error.strerror}; make room, also for temporary files"


def _worker(config: object) -> Cluster | None:
    """Returns which of several workers this process is; None if it works alone."""
    return Cluster.from_environment() if getattr(config, "strategy", None) == "multi_worker" else None
