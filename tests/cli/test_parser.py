import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import yaml

from tfprune.cli import make_parser, parse
from tfprune.errors import ConfigError
from tfprune.recipes.ekg.config import EKGConfig
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.settings import Settings, setting


@dataclass(frozen=True)
class Config(Settings):
    """Settings of a test.

    Not this.
    """

    HELP_ORDER: ClassVar[tuple[str, ...]] = ("numbers", "texts")

    rate: float = setting(0.5, "How fast, in 100 % of something: yes.", group="numbers", at_least=0)
    mode: Literal["slow", "fast"] = setting("slow", "How.")
    count: int = setting(3, "How many.", group="numbers")
    name: str = setting("x", "What it is called.", group="texts")
    path: str | None = setting(None, "Where.", if_none="nowhere", group="texts")
    points: tuple[float, ...] = setting((0.3, 0.6), "When.", group="numbers")
    ids: tuple[int, ...] | None = setting((0,), "Which.", group="numbers")
    Loud: bool = setting(False, "Whether it makes noise.")
    calm: bool = setting(True, "Whether it is calm.")
    compile: Literal["auto", "on", "off"] = setting("auto", "XLA.")


@dataclass(frozen=True)
class ConfigWithFile(Config):
    """The same, and a setting that is given without a flag."""

    file: str | None = setting(None, "A file.", if_none="none", positional=True)


def read(line: str) -> dict:
    """What differs from the defaults."""
    received, default = parse(Config, line.split()), Config()
    return {name: value for name, value in dataclasses.asdict(received).items() if value != getattr(default, name)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("--rate 2 --count -1", {"rate": 2.0, "count": -1}),
        ("--rate=1e-2", {"rate": 0.01}),
        ("--points .3 .6 .8 --ids 1 2", {"points": (0.3, 0.6, 0.8), "ids": (1, 2)}),
        ("--points 1 --rate 3", {"points": (1.0,), "rate": 3.0}),
        ("--Loud --no_calm", {"Loud": True, "calm": False}),
        ("--Loud true --calm false", {"Loud": True, "calm": False}),
        ("--Loud on --calm off", {"Loud": True, "calm": False}),
        ("--Loud --no_Loud", {}),
        ("--no_calm false", {}),
        ("--path a/b.pkl", {"path": "a/b.pkl"}),
        ("--path a --path None", {}),
        ("--ids None", {"ids": None}),
        ("--path 007 --name 1e3", {"path": "007", "name": "1e3"}),
        ("--name None", {"name": "None"}),
        ("--mode fast --compile", {"mode": "fast", "compile": "on"}),
        ("--compile off", {"compile": "off"}),
    ],
)
def test_flags(line, expected):
    received = read(line)
    assert received == expected
    assert all(type(received[name]) is type(value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("rate: 1e-2\ncount: 5", {"rate": 0.01, "count": 5}),
        ("points: [1, .5]\nids: [3]", {"points": (1.0, 0.5), "ids": (3,)}),
        ("ids: 3", {"ids": (3,)}),
        ("ids: []\npoints: []", {"ids": (), "points": ()}),
        ("ids: null", {"ids": None}),
        ("Loud: true\ncalm: no", {"Loud": True, "calm": False}),
        ("compile: on\nmode: fast", {"compile": "on", "mode": "fast"}),
        ("compile: off", {"compile": "off"}),
        ("path: None", {}),
        ("path: '5'\nname: on", {"path": "5", "name": "on"}),
    ],
)
def test_yaml(tmp_path, text, expected):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    assert read(f"--config {file}") == expected


def test_flags_win_over_files_and_later_files_over_earlier_ones(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("rate: 1\ncount: 1\nname: first")
    second.write_text("count: 2\nname: second")
    expected = {"rate": 1.0, "count": 2, "name": "flag"}
    assert read(f"--name flag --config {first} --setting {second}") == expected


WRONG_FLAGS = [
    ("--rate fast", "--rate: expected a number, received 'fast'"),
    ("--rate", "--rate: expected a number, received nothing"),
    ("--count 1.5", "--count: expected a whole number, received '1.5'"),
    ("--count true", "--count: expected a whole number, received 'true'"),
    ("--points", "--points: expected numbers, received nothing"),
    ("--ids .5", "--ids: expected whole numbers, received '.5'"),
    ("--mode medium", "--mode: expected slow or fast, received 'medium'"),
    ("--rat 1", "unknown flag --rat; did you mean --rate?"),
    ("--no-calm", "unknown flag --no-calm; did you mean --no_calm?"),
    ("--zzz", "unknown flag --zzz; --help lists them all"),
    ("--config", "--config: expected a file, received nothing"),
    ("--rate -1", "--rate: expected a value of at least 0, received -1.0"),
]
WRONG_WORDS = [
    ("--points .3 x", "--points: expected numbers, received 'x'"),
    ("--Loud maybe", "--Loud: expected true or false, received 'maybe'"),
    ("--compile maybe", "--compile: expected auto, on or off, received 'maybe'"),
    ("extra", "expected a flag, received 'extra'"),
]


@pytest.mark.parametrize(("line", "message"), WRONG_FLAGS + WRONG_WORDS)
def test_wrong_flags(line, message):
    with pytest.raises(ConfigError) as caught:
        read(line)
    assert str(caught.value) == message


@pytest.mark.parametrize(("line", "message"), WRONG_FLAGS)
def test_wrong_flags_behind_a_word_without_a_flag(line, message):
    with pytest.raises(ConfigError) as caught:
        parse(ConfigWithFile, ["a", *line.split()])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rat: 1", "unknown setting 'rat'; did you mean rate?"),
        ("config: other.yaml", "unknown setting 'config'; --help lists them all"),
        ("rate: fast", 'rate: expected a number, received "fast"'),
        ("rate: true", "rate: expected a number, received true"),
        ("count: 1.5", "count: expected a whole number, received 1.5"),
        ("count: null", "count: expected a whole number, received null"),
        ("points: .3 .6", 'points: expected numbers, received ".3 .6"'),
        ("points: [1, x]", 'points: expected numbers, received [1, "x"]'),
        ("name: {a: 1}", 'name: expected text, received {"a": 1}'),
        ("path: 5", "path: expected text or None, received 5"),
        ("Loud: 3", "Loud: expected true or false, received 3"),
        ("mode: medium", 'mode: expected slow or fast, received "medium"'),
    ],
)
def test_wrong_values_in_a_file(tmp_path, text, message):
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(f"--config {file}")
    assert str(caught.value) == f"{file}: {message}"


def test_a_setting_without_default_must_be_given():
    with pytest.raises(ConfigError, match=r"^TRAINED_PARAM is missing: The model, also as --trained_param: "):
        parse(EvaluateConfig, [])
    for words in (["--trained_param", "a.keras"], ["a.keras"]):
        assert parse(EvaluateConfig, words).trained_param == "a.keras"


def test_help_has_groups_and_defaults(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Config, ["--help"], prog="program.py")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    text = " ".join(shown.split())
    assert text.startswith("usage: program.py [--config FILE.yaml] [--FLAG VALUE ...] Settings of a test. options:")
    assert shown.index("numbers:") < shown.index("--rate") < shown.index("texts:") < shown.index("settings:")
    for line in (
        "--rate X How fast, in 100 % of something: yes. (default: 0.5)",
        "--points X [X ...] When. (default: 0.3 0.6)",
        "--path TEXT Where. Default: nowhere. --",  # no "(default: None)" behind it
        "--Loud, --no_Loud Whether it makes noise. (default: false)",
        "--mode {slow,fast} How. (default: slow)",
        "--compile [{auto,on,off}] XLA. (default: auto)",
    ):
        assert line.removesuffix(" --") in text
    assert "nowhere. (default" not in text
    assert "Not this" not in text


@pytest.mark.parametrize("config", [EKGConfig, EvaluateConfig])
def test_every_setting_of_the_programs_has_help(config):
    text = " ".join(make_parser(config).format_help().split())
    for field in dataclasses.fields(config):
        assert f"--{field.name}" in text


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(Config, ["--version"], prog="program.py")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("program.py (tfprune ")


def test_recorded_settings_can_be_read_again(tmp_path):
    config = EKGConfig(decay_points=(0.5,), gpu_id=(1,), compile="on", data_path="somewhere", Knowledge=False)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(config.settings()))
    assert parse(EKGConfig, ["--config", str(file)]) == config


def test_a_setting_named_after_the_file(tmp_path):
    @dataclass(frozen=True)
    class Named(Settings):
        """Settings of a test."""

        title: str | None = setting(None, "The title.", from_file_name=True)

    for name, text in (("first", ""), ("second", "title: own\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    first, second = (["--config", str(tmp_path / f"{name}.yaml")] for name in ("first", "second"))
    assert parse(Named, []).title is None
    assert parse(Named, first).title == "first"
    assert parse(Named, [*first, *second]).title == "own"
    assert parse(Named, [*second, *first]).title == "first"
    assert parse(Named, [*first, "--title", "flag"]).title == "flag"


def test_lines_at_the_end_of_the_help_stay_as_they_are():
    shown = make_parser(Config, prog="p", epilog="a list:\n  one    1\n  two    2").format_help()
    assert shown.endswith("\n\na list:\n  one    1\n  two    2\n")


@dataclass(frozen=True)
class NumberOrWord(Settings):
    """A setting that is a number or a word."""

    size: int | Literal["random"] = setting(help="How many.", at_least=1)
    sizes: tuple[int | Literal["all"], ...] | None = setting(None, "How many each.", at_least=1, positional=True)


def test_a_number_or_a_word(tmp_path, capsys):
    for value in (3, "random"):
        assert parse(NumberOrWord, ["--size", str(value)]).size == value
        (tmp_path / "a.yaml").write_text(f"size: {value}")
        assert parse(NumberOrWord, ["--config", str(tmp_path / "a.yaml")]).size == value
    assert parse(NumberOrWord, ["3", "all", "--size", "1"]).sizes == (3, "all")
    for word, message in [
        ("two", "--size: expected a whole number or random, received 'two'"),
        ("all", "--size: expected a whole number or random, received 'all'"),
        ("2.5", "--size: expected a whole number or random, received '2.5'"),
        ("0", "--size: expected a value of at least 1, received 0"),
    ]:
        with pytest.raises(ConfigError) as caught:
            parse(NumberOrWord, ["--size", word])
        assert str(caught.value) == message
    with pytest.raises(SystemExit):
        parse(NumberOrWord, ["--help"], prog="p")
    assert "--size N|random" in capsys.readouterr().out


@pytest.mark.parametrize(
    "word", ["!!timestamp x", "9" * 400, "[" * 3000, "&a [*a]", "!!int x", '"\\U00110000"', "{[a]: 1}"]
)
@pytest.mark.parametrize("flag", ["rate", "count", "points", "ids"])
def test_odd_words_for_numbers_are_refused_in_one_line(flag, word):
    with pytest.raises(ConfigError) as caught:
        parse(Config, [f"--{flag}", word])
    assert str(caught.value).isprintable()


def test_a_number_of_a_file_that_no_float_holds(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"rate: {'9' * 400}\n")
    with pytest.raises(ConfigError, match=f"{file}: rate: expected a number"):
        parse(Config, ["--config", str(file)])


def test_long_values_of_files_are_shortened(tmp_path):
    path = tmp_path / "settings.yaml"
    for text in (f"seed: {[[0] * 10] * 1000}", f"decay_points: {[0.5] * 1000}", f"train_epoch: {'x' * 5000}"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"expected .* received") as raised:
            parse(EKGConfig, ["--config", str(path)])
        assert len(str(raised.value)) < 400
