import io
import logging
import os
import sys
import warnings

import pytest
from rich.text import Text
from tqdm import tqdm

from tfprune.console import plain_warnings, quiet, report_console, working


def chatter(text):
    os.write(2, f"compiled {text}\n".encode())
    print(f"printed {text}", file=sys.stderr)
    logging.getLogger("tf2onnx.tfonnx").error(text)
    logging.getLogger("absl").warning(text)


def test_quiet_ends_with_the_block(capfd, caplog):
    with quiet():
        chatter("within")
        warnings.warn("within", stacklevel=1)
    chatter("after")
    assert capfd.readouterr().err.splitlines()[:2] == ["compiled after", "printed after"]
    assert {record.message for record in caplog.records} == {"after"}
    assert len(caplog.records) == 2
    with pytest.warns(UserWarning, match="after"):
        warnings.warn("after", stacklevel=1)


def test_errors_pass_through_and_end_quiet(capfd):
    with pytest.raises(ValueError, match="wrong"), quiet():
        raise ValueError("wrong")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def in_a_terminal(monkeypatch):
    """Makes standard output and error a terminal of 100 characters per line, with colors."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_no_color_means_no_color_and_no_bold_text(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    report_console().print(Text("title", style="bold red"))
    assert "\x1b[1" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    start = len(terminal.getvalue())
    report_console().print(Text("title", style="bold red"))
    assert terminal.getvalue()[start:] == "title\n"
    monkeypatch.setenv("NO_COLOR", "")  # empty is not set, says no-color.org
    report_console().print(Text("title", style="bold"))
    assert terminal.getvalue()[start + 6 :].startswith("\x1b[1m")


def test_the_width_of_a_terminal_but_at_least_80(monkeypatch):
    in_a_terminal(monkeypatch)
    assert report_console().width == 100
    monkeypatch.setenv("COLUMNS", "60")
    assert report_console().width == 80


def test_lines_are_not_broken(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    report_console().print(Text("a/path " * 30))
    assert terminal.getvalue().count("\n") == 1


def test_an_indicator_leaves_standard_output_alone(monkeypatch):
    """What is printed while it is shown goes where it belongs, and not into its line."""
    terminal = in_a_terminal(monkeypatch)
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    with working("reading") as indicator:
        assert sys.stdout is file
        indicator.stop()
        print("between")
        indicator.start()
    assert file.getvalue() == "between\n"
    assert "reading ..." in terminal.getvalue()


def test_an_indicator_is_for_terminals_only(capsys):
    with working("reading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_warning_is_not_on_the_line_of_a_progress_bar(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    with plain_warnings(), warnings.catch_warnings():
        warnings.simplefilter("always")
        with tqdm(total=2, desc="searching", file=terminal) as bar:
            bar.update()
            warnings.warn("beware", stacklevel=1)
            bar.update()
    shown = [line.rpartition("\r")[2] for line in terminal.getvalue().split("\n")]
    assert "warning: beware" in shown


@pytest.mark.parametrize(("columns", "width"), [("90", 90), ("40", 80), (None, 240)])
def test_width_of_output_that_is_no_terminal(monkeypatch, columns, width):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert report_console().width == width


def test_a_warning_has_a_line_of_its_own_while_an_indicator_is_shown(monkeypatch):
    terminal = in_a_terminal(monkeypatch)
    with plain_warnings(), working("pruning"):
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    assert "\x1b[2Kwarning: careful\n" in terminal.getvalue()
