import math
import os

import pytest
import yaml

from tfprune.errors import ConfigError, RunFolderError
from tfprune.reading import RefusedError
from tfprune.reading.yaml_file import read_settings, yaml_value


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
        (b"a: [\n", "it has invalid YAML at line 2, column 1: "),
        (b"a: 1\na: 2\n", "it has invalid YAML at line 2, column 1: 'a' appears twice; "),
        (b"- 1\n", "received a list; "),
        (b"text\n", "received a single value; "),
        (b"5\n", "received a single value; "),
        (b"\xff\xfe\x00", "it is not a text file; "),
        (b"a: 1\x00", "it has invalid YAML: unacceptable character #x0000"),
        (b"a: 1\n---\nb: 1\n", "it has invalid YAML at line 2, column 1: but found another document; "),
        (b"a: !!python/object/apply:os.system [ls]\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!timestamp x\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!binary x\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!set {b, c}\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!merge x\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !<x\xc3\xa4> b\n", "it has invalid YAML at line 1, column 7: "),
        (b"a: !!seq x\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!str [b]\n", "it has invalid YAML at line 1, column 4: expected no tag, "),
        (b"a: !!int abc\n", "it has invalid YAML at line 1, column 4: 'abc' is no !!int; "),
        (b"a: !!int ''\n", "it has invalid YAML at line 1, column 4: '' is no !!int; "),
        (b"a: !!float x\n", "it has invalid YAML at line 1, column 4: 'x' is no !!float; "),
        (b"a: !!bool yes\n", "it has invalid YAML at line 1, column 4: 'yes' is no !!bool; "),
        (b"a: !!null x\n", "it has invalid YAML at line 1, column 4: 'x' is no !!null; "),
        (b"{[a]: 1}\n", "it has invalid YAML at line 1, column 2: expected a name as a key, received a list or "),
        (b"? {a: 1}\n: 1\n", "it has invalid YAML at line 1, column 3: expected a name as a key, received a list or "),
        (b"a: *b\n", "it has invalid YAML at line 1, column 4: found undefined alias 'b'; "),
        (b"a: &a [*a]\n", "it is nested more than 100 levels deep, or contains itself; "),
        (b"&a {b: *a, c: *a}\n", "it is nested more than 100 levels deep, or contains itself; "),
        (b"&a {*a : 1}\n", "it has invalid YAML at line 1, column 1: expected a name as a key, "),
        (b"a: " + b"[" * 200 + b"]" * 200, "it is nested more than 100 levels deep"),
        (b"a: " + b"[" * 100_000, "it is nested more than 100 levels deep"),
        (b"- " * 100_000, "it is nested more than 100 levels deep"),
        (b'a: "\\U00110000"\n', "it has invalid YAML: chr() arg not in range(0x110000); "),
        (b'a: "\\UFFFFFFFF"\n', "it has invalid YAML: "),
        (b'a: "\\ud800"\n', "its text '\\ud800' has half of a character; "),
        (b'a: "\\0"\n', "its text '\\x00' has a NUL character; "),
        (b'a: "\\q"\n', "it has invalid YAML at line 1, column 6: found unknown escape character 'q'; "),
        (b"a: " + b"9" * 1001, "it has a whole number of 1,001 digits, where 1,000 are the most; "),
        (b"a: !!int " + b"9" * 9000, "it has a whole number of 9,000 digits, where 1,000 are the most; "),
        (b"%YAML 1." + b"1" * 9000 + b"\n---\na: 1\n", "it has invalid YAML: Exceeds the limit"),
        (b"a: 1\n" * 60_000, "it has more than 262,144 bytes; "),
    ],
    ids=lambda each: str(each[:24]),
)
def test_what_is_no_file_of_settings(tmp_path, content, message):
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(file)
    said = str(caught.value)
    assert said.startswith(f"cannot read {file}: expected settings as `name: value`, {message}")
    assert said.endswith("; correct the file")
    assert "\n" not in said
    assert len(said) < 400 + len(str(file))


def test_missing_file_folder_and_pipe(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="a folder"):
        read_settings(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        read_settings(tmp_path / "pipe.yaml")


def test_who_reads_says_which_error_it_is(tmp_path):
    with pytest.raises(RunFolderError, match="No such file"):
        read_settings(tmp_path / "none.yaml", error=RunFolderError)


def test_what_yaml_allows():
    assert yaml_value("") is None
    assert yaml_value("{}") == {}
    assert yaml_value("a: !!int 5\nb: !!float 5\nc: !!str 5\nd: !!map {e: !!seq []}") == {
        **{"a": 5, "b": 5.0, "c": "5"},
        "d": {"e": []},
    }
    assert yaml_value("{1: a, true: b, ~: c}") == {"1": "a", "true": "b", "~": "c"}
    assert yaml_value("a: .inf\nb: -.inf\nc: .nan")["b"] == -math.inf
    assert yaml_value("a: |\n  5\n") == {"a": "5\n"}
    assert yaml_value("a: 12345678901234567890123") == {"a": 12345678901234567890123}
    assert yaml_value('a: "\\U0001F600"') == {"a": "\U0001f600"}


def test_aliases_are_values_of_their_own():
    values = yaml_value("a: &x [1, 2]\nb: *x\nc: [*x, *x]")
    assert values == {"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]}
    values["a"].append(3)
    assert values["b"] == [1, 2]


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}"])
def test_a_few_aliases_that_stand_for_more_values_than_there_may_be(form):
    rows = ["- &a0 [x]"]
    for number in range(1, 30):
        names = [f"*a{number - 1}"] * 4
        inner = names if form == "[{}]" else [f"{key}: {name}" for key, name in zip("bcde", names, strict=True)]
        rows.append(f"- &a{number} {form.format(', '.join(inner))}")
    assert len(str(yaml_value("\n".join(rows[:8])))) > 4**7
    with pytest.raises(RefusedError, match="more than 131,072 values"):
        yaml_value("\n".join(rows))


@pytest.mark.parametrize(
    "values",
    [
        {"a": [1, -2.5, 1e300, None, True, "on", "5", "", "é", "a: b", "x\ny", "*a", "!!int 5", "'", '"']},
        {"b": {"c": [[], {}, [[1]]]}},
    ],
)
def test_what_pyyaml_writes_is_read_as_it_was(values):
    assert yaml_value(yaml.safe_dump(values)) == values


def test_each_file_cut_at_each_place_is_read_or_refused_in_one_line(tmp_path):
    text = """
a: &x [1, 2.5, "é\\n", 'q']   # words
b: {c: *x, d: !!str 5}
e: |
  lines
  of text
? f
: - -1
"""
    assert yaml_value(text)["f"] == [-1]
    content, file = text.encode(), tmp_path / "a.yaml"
    cut = [content[:end] for end in range(len(content))]
    flipped = [
        content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]
    refused = []
    for each in cut + flipped:
        file.write_bytes(each)
        try:
            assert isinstance(read_settings(file), dict)
        except ConfigError as error:
            refused.append(str(error))
    assert len(content) < len(refused) < len(cut + flipped)
    assert not any("\n" in said for said in refused)
