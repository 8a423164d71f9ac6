"""Which method a command line asks for."""

import os

import pytest

from tfprune.cli.main import main
from tfprune.cli.programs import evaluate, pick_method, train_cifar, train_imagenet
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


BOMB = "seed: [&a0 [x, x]" + "".join(f", &a{n} [{', '.join(4 * [f'*a{n - 1}'])}]" for n in range(1, 15)) + "]"
PROGRAMS = {
    "train_cifar": lambda file: train_cifar(["--config", file]),
    "train_imagenet": lambda file: train_imagenet(["--setting", file]),
    "train_imagenet prune": lambda file: train_imagenet(["prune", "--config", file]),
    "test": lambda file: evaluate(["model.keras", "--config", file]),
    "tfprune prune": lambda file: main(["prune", "model.keras", "--config", file]),
    "tfprune export": lambda file: main(["export", "model.keras", "--config", file]),
    "tfprune sanity": lambda file: main(["sanity", "--config", file]),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_hostile_settings_are_refused_in_one_line_by_each_program(program, tmp_path, capsys):
    file, pipe = tmp_path / "settings.yaml", tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    cases = {
        "seed: !!int abc": "'abc' is no !!int",
        "{[a]: 1}": "expected a name as a key",
        BOMB: "more than 131,072 values",
        "seed: &a [*a]": "or contains itself",
        "seed: !!timestamp x": "expected no tag",
        'a: "\\U00110000"': "chr() arg not in range",
        'data_path: "a\\0b"': "NUL",
        "- " * 100_000: "nested more than 100 levels",
    }
    for content, said in cases.items():
        file.write_text(content)
        assert PROGRAMS[program](str(file)) == 2
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
    assert PROGRAMS[program](str(pipe)) == 2
    assert "no regular file" in capsys.readouterr().err
    assert PROGRAMS[program]("/dev/zero") == 2
    assert "no regular file" in capsys.readouterr().err
