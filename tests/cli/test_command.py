import os
import subprocess
import sys

import pytest

from tfprune.cli import run_command
from tfprune.errors import CheckpointError, ConfigError


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
