"""Settings are declared once: what `setting` checks, inherits and refuses."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from tfprune.errors import CheckpointError, ConfigError
from tfprune.settings import Settings, check_model_file, preset, same_setting, setting, settings_of


@dataclass(frozen=True)
class Base(Settings):
    """Settings of a test."""

    rate: float = setting(0.5, "How fast.", group="speed", above=0, at_most=1)
    count: int = setting(3, "How many.", at_least=1)
    share: float = setting(0.0, "Which part.", at_least=0, below=1)
    width: float = setting(0.5, "How wide.", above=0, below=1)
    bits: int = setting(8, "How exact.", at_least=2, at_most=32)
    least: int | None = setting(None, "At least.", if_none="no bound", at_least=1)
    points: tuple[float, ...] = setting((0.3,), "When.", above=0, distinct=True)
    ids: tuple[int, ...] | None = setting((0,), "Which.", nonempty=True, at_least=0)
    mode: Literal["slow", "fast", "both"] = setting("slow", "How.")
    kinds: tuple[Literal["a", "b"], ...] = setting(("a",), "Of what kind.")
    where: str | None = setting(None, "Where.", recorded=False)


@dataclass(frozen=True)
class Derived(Base):
    """Other settings."""

    rate: float = 0.25
    count: int = setting(7, "How many of them.")
    least: int | None = setting(None, if_none="one", group="bounds")


@pytest.mark.parametrize(
    ("name", "value", "expected", "received"),
    [
        ("rate", 0.0, "a value above 0 and at most 1", "0.0"),
        ("rate", -1, "a value above 0 and at most 1", "-1"),
        ("rate", 50.0, "a value above 0 and at most 1", "50.0; half is 0.5"),
        ("rate", math.nan, "a value above 0 and at most 1", "nan"),
        ("count", 0, "a value of at least 1", "0"),
        ("share", 1.0, "a value of at least 0 and below 1", "1.0"),
        ("share", -0.1, "a value of at least 0 and below 1", "-0.1"),
        ("width", 1.0, "a value between 0 and 1", "1.0"),
        ("bits", 33, "a value from 2 to 32", "33"),
        ("bits", 1, "a value from 2 to 32", "1"),
        ("least", 0, "a value of at least 1", "0"),
        ("points", (0.5, 0.0), "values above 0", "0.5 0.0"),
        ("points", (3, 1, 3.0), "values that differ", "3 1 3.0"),
        ("ids", (1, -1), "values of at least 0", "1 -1"),
        ("ids", (), "at least one value", "nothing"),
        ("mode", "quick", "slow, fast or both", "quick"),
        ("kinds", ("a", "c"), "a or b", "a c"),
        ("count", None, "a whole number", "None"),
    ],
)
@pytest.mark.parametrize("kind", [Base, Derived])
def test_what_is_refused(kind, name, value, expected, received):
    with pytest.raises(ConfigError) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"--{name}: expected {expected}, received {received}"


def test_values_at_the_edge_are_taken():
    config = Base(rate=1, count=1, share=0, bits=32, least=None, points=(), ids=None, mode="both", kinds=())
    assert replace(config, bits=2, least=1, ids=(0,)).least == 1


def test_an_unknown_keyword_is_an_error():
    with pytest.raises(TypeError, match="abov"):
        setting(0.5, "How fast.", abov=0)


def test_what_a_subclass_leaves_out_is_inherited():
    base, derived = settings_of(Base), settings_of(Derived)
    assert list(base) == list(derived)
    assert (derived["rate"].default, derived["rate"].help, derived["rate"].group) == (0.25, "How fast.", "speed")
    assert (derived["count"].default, derived["count"].help, derived["count"].at_least) == (7, "How many of them.", 1)
    assert (derived["least"].help_text, derived["least"].group) == ("At least. Default: one.", "bounds")
    assert derived["bits"] == base["bits"]


def test_help_with_defaults():
    texts = {name: each.help_text for name, each in settings_of(Base).items()}
    assert texts["rate"] == "How fast. (default: 0.5)"
    assert texts["least"] == "At least. Default: no bound."
    assert texts["where"] == "Where. (default: none)"
    assert texts["ids"] == "Which. (default: 0)"


def test_presets_have_other_defaults_and_the_same_settings():
    @dataclass(frozen=True)
    class More(Settings):
        """What comes in addition."""

        path: str = setting(help="Which folder.", positional=True, kw_only=True)
        count: int = setting(9)
        where: str | None = setting(None, "Where else.")

    made = preset("Made", Derived, {"rate": 0.75, "points": (0.1, 0.2)}, more=More)
    assert issubclass(made, Derived)
    config = made(path="here")
    assert (config.rate, config.points, config.count, config.path) == (0.75, (0.1, 0.2), 9, "here")
    known = settings_of(made)
    assert [*known] == [*settings_of(Derived), "path"]
    assert (known["rate"].help, known["count"].help, known["where"].help) == (
        "How fast.",
        "How many of them.",
        "Where else.",
    )
    for wrong in ({"rate": 2}, {"count": 0}, {"points": (0,)}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            made(path="here", **wrong)
    with pytest.raises(TypeError, match="path"):
        made()
    with pytest.raises(TypeError, match="preset of Derived: no setting rat"):
        preset("Wrong", Derived, {"rat": 1})


def test_a_setting_of_another_class():
    @dataclass(frozen=True)
    class Other(Settings):
        """Some of the settings."""

        rate: float = same_setting(Derived, "rate")

    assert settings_of(Other)["rate"] == settings_of(Derived)["rate"]
    assert Other().rate == 0.25
    with pytest.raises(ConfigError, match="--rate: expected a value above 0 and at most 1"):
        Other(rate=0)


def test_what_decides_the_result_is_recorded():
    settings = Base(points=(1.0, 2.0), where="x").settings()
    assert [*settings] == [name for name in settings_of(Base) if name != "where"]
    assert settings["points"] == [1.0, 2.0]


def test_what_was_changed():
    assert Derived(rate=0.5, count=7).changed(("count", "rate", "mode")) == ["rate"]


def test_faults_of_the_program_are_no_config_errors():
    @dataclass(frozen=True)
    class Silent(Settings):
        """Without help."""

        rate: float = 1.0

    @dataclass(frozen=True)
    class Strange(Settings):
        """Without a flag."""

        rate: dict = setting(None, "A rate.")

    with pytest.raises(TypeError, match="setting rate: expected a help text, received none"):
        Silent()
    with pytest.raises(TypeError, match="rate: no flag for the type"):
        Strange()


def test_model_files(tmp_path):
    (tmp_path / "a.keras").touch()
    (tmp_path / "a.h5").touch()
    (tmp_path / "folder.keras").mkdir()
    check_model_file(None)
    check_model_file(str(tmp_path / "a.keras"))
    for name, message in (("b.keras", "does not exist"), ("a.h5", "save the model"), ("folder.keras", "is a folder")):
        with pytest.raises(CheckpointError, match=message):
            check_model_file(str(tmp_path / name))


def test_portable_settings_name_no_folder_of_this_machine():
    @dataclass(frozen=True)
    class Paths(Settings):
        start: str | None = setting("here/a.keras", "A file.", path="file")
        none: str | None = setting(None, "Another file.", path="file")
        where: str | None = setting("/data/images", "A folder.", path="folder")
        words: tuple[str, ...] = setting(("a/b",), "Words.")
        out: str = setting("there/b.keras", "A file.", path="file", recorded=False)

    assert Paths().portable() == {"start": "a.keras", "none": None, "words": ["a/b"]}
    assert Paths().settings()["where"] == "/data/images"
