import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tfprune.cli import run_command
from tfprune.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]


def raising(error):
    def work(config=None):
        raise error

    return work


def test_success_hands_the_settings_over():
    seen = []
    assert run_command("p.py", lambda: "settings", seen.append) == 0
    assert seen == ["settings"]


@pytest.mark.parametrize(
    ("settings", "work"),
    [(raising(ConfigError("one\n  two")), print), (lambda: 0, raising(CheckpointError("one two")))],
)
def test_mistakes_are_one_line(capsys, settings, work):
    assert run_command("p.py", settings, work) == 2
    received = capsys.readouterr()
    assert received.err == "p.py: error: one two\n"
    assert received.out == ""


def test_interrupt(capsys):
    assert run_command("p.py", lambda: 0, raising(KeyboardInterrupt()), interrupted="continue later") == 130
    assert capsys.readouterr().err == "p.py: continue later\n"


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_command("p.py", lambda: 0, lambda config: 1 / 0)
    with pytest.raises(FileNotFoundError):
        run_command("p.py", lambda: 0, raising(FileNotFoundError(2, "No such file or directory", "x")))


def test_a_full_disk_is_one_line(capsys):
    assert run_command("p.py", lambda: 0, raising(OSError(28, "No space left on device", "/tmp/x"))) == 2
    assert capsys.readouterr().err == (
        "p.py: error: cannot write a file (/tmp/x): No space left on device; make room, also for temporary files\n"
    )


def run_python(code, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | variables
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("variables", [{}, {"TF_CPP_MIN_LOG_LEVEL": "3"}])
def test_the_screen_stays_clean_and_errors_stay_visible(variables):
    done = run_python(
        "import sys\n"
        "from tfprune.cli import run_command\n"
        "def settings():\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "def work(config):\n"
        "    import tensorflow as tf\n"
        "    tf.constant(1.0) + 1\n"
        "    print('seen', file=sys.stderr)\n"
        "sys.exit(run_command('p.py', settings, work))\n",
        **variables,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "seen\n")


def test_what_was_held_back_is_shown_if_the_import_fails():
    done = run_python(
        "import os, sys\n"
        "from tfprune.cli.command import _standard_error_held_back\n"
        "with _standard_error_held_back():\n"
        "    os.write(2, b'the reason\\n')\n"
        "    raise ImportError('x')\n"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("the reason\n")


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = (
        "import sys\n"
        "from tfprune.cli import command\n"
        "command.quiet_tensorflow = lambda: None\n"
        "sys.exit(command.run_command('p.py', lambda: 0, lambda config: print('text')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_lines_of_a_killed_process_are_in_the_file():
    code = (
        "import os\n"
        "from tfprune.cli import command\n"
        "command.quiet_tensorflow = lambda: None\n"
        "command.run_command('p.py', lambda: 0, lambda config: (print('text'), os._exit(9)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (9, "text\n")


def without_reader(command, **options):
    """Runs a command whose output nobody reads: the process at the other end of the pipe has ended."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(command, stdout=write, text=True, cwd=ROOT, **options)
    finally:
        os.close(write)


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "tfprune", "--help"],
        ["-m", "tfprune", "--version"],
        ["-m", "tfprune", "prune", "--help"],
        ["-m", "tfprune", "dpp"],
        ["train_cifar.py", "--help"],
        ["train_imagenet.py", "prune", "--help"],
        ["test.py", "--help"],
    ],
    ids=" ".join,
)
def test_help_without_a_reader_ends_quietly(words):
    done = without_reader([sys.executable, *words], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, "")


PRINTING = (
    "import sys\n"
    "from tfprune.cli import command\n"
    "from tfprune.console import report_console\n"
    "command.quiet_tensorflow = lambda: None\n"
    "def work(config):\n"
    "    for number in range(9999):\n"
    "        report_console().print(f'line {number} with some words')\n"
    "    print('reached', file=sys.stderr)\n"
    "sys.exit(command.run_command('p.py', lambda: 0, work))\n"
)


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.STDOUT])
def test_a_table_without_a_reader_ends_quietly(stderr):
    """Also where errors go into the same pipe; rich alone would end with the exit code 1."""
    done = without_reader([sys.executable, "-c", PRINTING], stderr=stderr)
    assert (done.returncode, done.stderr or "") == (141, "")


def test_warnings_are_one_line_without_their_place(capsys):
    before = warnings.showwarning

    def work(config):
        warnings.warn("beware\n  of this", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)  # not for users: Python ignores these
        print("done")

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        assert run_command("p.py", lambda: 0, work) == 0
    received = capsys.readouterr()
    assert (received.out, received.err) == ("done\n", "warning: beware of this\n")
    assert warnings.showwarning is before
