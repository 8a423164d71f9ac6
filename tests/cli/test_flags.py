from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.cli import make_parser, parse
from tfprune.errors import ConfigError
from tfprune.settings import Settings, setting


@dataclass(frozen=True)
class Pair(Settings):
    """Settings of a test."""

    first: str = setting(help="One file.", positional=True)
    second: str | None = setting(None, "Another.", if_none="none", positional=True)
    rate: float = setting(0.5, "How fast.")
    sizes: tuple[int, ...] = setting((1,), "How large.")
    names: tuple[str, ...] = setting((), "Which.")
    loud: bool = setting(False, "Whether it makes noise.")
    calm: bool = setting(True, "Whether it is calm.")
    compile: Literal["auto", "on", "off"] = setting("auto", "XLA.")


@dataclass(frozen=True)
class Many(Settings):
    """Settings of a test."""

    files: tuple[str, ...] = setting(help="Some files.", positional=True)
    sizes: tuple[int, ...] = setting((1,), "How large.")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", Pair("a")),
        ("a b", Pair("a", "b")),
        ("a --rate 2 b", Pair("a", "b", rate=2)),
        ("--rate=2 a b", Pair("a", "b", rate=2)),
        ("--rate -1 a", Pair("a", rate=-1)),
        ("--loud a --no_calm b", Pair("a", "b", loud=True, calm=False)),
        ("--loud true a --calm false", Pair("a", loud=True, calm=False)),
        ("--sizes 3 4 a b", Pair("a", "b", sizes=(3, 4))),
        ("a --sizes 3 4 b", Pair("a", "b", sizes=(3, 4))),
        ("a b --names c d", Pair("a", "b", names=("c", "d"))),
        ("--names c --loud a", Pair("a", names=("c",), loud=True)),
        ("--compile a", Pair("a", compile="on")),
        ("--compile off a", Pair("a", compile="off")),
        ("--first a --second b", Pair("a", "b")),
        ("a --second b", Pair("a", "b")),
        ("-- a --b", Pair("a", "--b")),
        ("a None", Pair("a", None)),
        ("-a", Pair("-a")),
    ],
)
def test_words_without_a_flag(line, expected):
    assert parse(Pair, line.split()) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", Many(("a",))),
        ("a b c", Many(("a", "b", "c"))),
        ("a --sizes 1 2 b", Many(("a", "b"), (1, 2))),
        ("--files a b", Many(("a", "b"))),
    ],
)
def test_the_last_may_be_a_list(line, expected):
    assert parse(Many, line.split()) == expected


@given(st.permutations([["a"], ["b"], ["--rate", "2"], ["--loud"], ["--sizes", "5", "6"], ["--compile"]]))
def test_flags_may_stand_anywhere(pieces):
    received = parse(Pair, [word for piece in pieces for word in piece])
    first, second = (piece[0] for piece in pieces if piece in (["a"], ["b"]))
    assert received == Pair(first, second, rate=2, loud=True, sizes=(5, 6), compile="on")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "FIRST is missing: One file."),
        ("a b c", "expected FIRST [SECOND] and flags, received 'c', too"),
        ("a --first b", "first is given twice, as 'a' and as --first; give it once"),
        ("a --no_rate 1", "unknown flag --no_rate; did you mean --rate?"),
        ("a --rate --loud", "--rate: expected a number, received nothing"),
        ("a --sizes b c", "--sizes: expected whole numbers, received 'b'"),
        ("a --loud=maybe", "--loud: expected true or false, received 'maybe'"),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(ConfigError) as caught:
        parse(Pair, line.split())
    assert str(caught.value) == message


def test_a_file_may_give_them_too(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("first: a\nsecond: b\n")
    assert parse(Pair, ["--config", str(file)]) == Pair("a", "b")
    assert parse(Pair, ["--config", str(file), "c"]) == Pair("c", "b")
    file.write_text("files: [a, b]\n")
    assert parse(Many, ["--config", str(file)]) == Many(("a", "b"))


def test_the_program_s_own_words_are_the_default(monkeypatch):
    monkeypatch.setattr("sys.argv", ["program.py", "a", "--loud"])
    assert parse(Pair) == Pair("a", loud=True)


def test_help():
    text = " ".join(make_parser(Pair, prog="program.py").format_help().split())
    assert text.startswith("usage: program.py FIRST [SECOND] [--config FILE.yaml] [--FLAG VALUE ...] Settings of")
    assert "arguments: FIRST One file. (must be given) SECOND Another. Default: none. settings: --rate X How" in text
    assert "--names TEXT [TEXT ...] Which. (default: none)" in text
    assert "usage: p FILES ... [--config" in make_parser(Many, prog="p").format_help()


@dataclass(frozen=True)
class Kept(Settings):
    """Settings of a test."""

    density: float = setting(0.5, "Fraction.")
    out: str = setting("a", "File.")


@pytest.mark.parametrize(
    ("flag", "suggested"),
    [
        ("prune-ratio", "; did you mean --density, the fraction that is kept?"),
        ("prune_rate", "; did you mean --density, the fraction that is kept?"),
        ("sparsity", "; did you mean --density, the fraction that is kept?"),
        ("densty", "; did you mean --density?"),
        ("quiet", "; --help lists them all"),
        ("no_density", "; did you mean --density?"),
    ],
)
def test_suggestions_are_close_and_of_this_program(flag, suggested, tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse(Kept, [f"--{flag}", "1"])
    assert str(caught.value) == f"unknown flag --{flag}{suggested}"
    file = tmp_path / "settings.yaml"
    file.write_text(f"{flag}: 1\n")
    with pytest.raises(ConfigError) as caught:
        parse(Kept, ["--config", str(file)])
    assert str(caught.value) == f"{file}: unknown setting {flag!r}{suggested.replace('--density', 'density')}"


def test_what_the_program_lacks_is_not_suggested():
    with pytest.raises(ConfigError, match=r"unknown flag --prune_ratio; --help lists them all$"):
        parse(Many, ["a", "--prune_ratio", "1"])


@dataclass(frozen=True)
class Numbers(Settings):
    """Settings of a test."""

    seed: int = setting(0, "Where random numbers begin.")
    rate: float = setting(0.5, "How fast.")


DOUBLED = "[" + ", ".join(["&a0 [x, x]", *(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]) + "]"


@pytest.mark.parametrize("word", ["0x10", "1:30", "1_000", "true", "3.0", "[1]", "", "9" * 4000, DOUBLED], ids=len)
def test_words_that_are_no_whole_number(word):
    with pytest.raises(ConfigError, match="--seed: expected a whole number, received ") as caught:
        parse(Numbers, ["--seed", word])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("word", ["9" * 400, "0x1p3", "1:30", "yes", "None", DOUBLED], ids=len)
def test_words_that_are_no_number(word):
    with pytest.raises(ConfigError, match="--rate: expected a number, received ") as caught:
        parse(Numbers, ["--rate", word])
    assert len(str(caught.value)) < 400
