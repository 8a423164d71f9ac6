"""Which method a command line asks for."""

import pytest

from tfprune.cli.programs import pick_method
from tfprune.errors import ConfigError

METHODS = {"ekg": int, "peekaboo": float}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], int),
        (["--method", "peekaboo", "--seed", "1"], float),
        (["--method=peekaboo"], float),
        (["--config", "{path}"], float),
        (["--setting={path}", "--method", "ekg"], int),
    ],
)
def test_flags_win_over_files(tmp_path, words, expected):
    file = tmp_path / "settings.yaml"
    file.write_text("method: peekaboo\nseed: 3\n")
    assert pick_method([word.format(path=file) for word in words], METHODS, default="ekg") is expected


def test_unknown_method():
    with pytest.raises(ConfigError, match=r"unknown method 'peekabo'; did you mean peekaboo\?"):
        pick_method(["--method", "peekabo"], METHODS, default="ekg")


def test_a_method_that_resembles_none_lists_all():
    with pytest.raises(ConfigError, match=r"unknown method 'nonsense'; there are ekg, peekaboo$"):
        pick_method(["--method", "nonsense"], METHODS, default="ekg")
