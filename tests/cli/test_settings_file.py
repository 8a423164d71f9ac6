import pytest

from tfprune.cli.settings_file import read_settings
from tfprune.errors import ConfigError


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("None", None),
        ("", None),
        ("1e-2", 0.01),
        (".5", 0.5),
        ("-3", -3),
        ("5.", 5.0),
        ("5.0e-4", 5e-4),
        ("007", "007"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'5'", "5"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path, scalar, value):
    file = tmp_path / "a.yaml"
    file.write_text(f"key: {scalar}\n")
    received = read_settings(file)["key"]
    assert received == value
    assert type(received) is type(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [\n", "{}: invalid YAML at line 2, column 1"),
        (b"a: 1\na: 2\n", "{}: invalid YAML at line 2, column 1: 'a' appears twice"),
        (b"- 1\n", "{}: expected settings as `name: value`, received a list"),
        (b"text\n", "{}: expected settings as `name: value`, received a text"),
        (b"a: !!python/object/apply:os.system [ls]\n", "{}: invalid YAML at line 1"),
        (b"\xff\xfe\x00", "cannot read {}: it is not a text file"),
    ],
)
def test_what_is_no_file_of_settings(tmp_path, content, message):
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(file)
    assert str(caught.value).startswith(message.format(file))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_settings(tmp_path)
