"""JSON texts are read within limits; whatever else is refused in a clause."""

import json
import math
import random

import pytest

from tfprune.reading import RefusedError
from tfprune.reading.json_text import json_value, read_json


@pytest.mark.parametrize(
    "values",
    [
        {"a": [1, -2.5, 1e300, None, True, False, "é\n", "", [], {}], "b": {"c": 10**30}},
        [[0.1, 1 / 3, 5e-324]],
        "text",
        None,
    ],
)
def test_what_was_written_is_read(values, tmp_path):
    assert json_value(json.dumps(values)) == values
    assert json_value(json.dumps(values, indent=1).encode()) == values
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert read_json(tmp_path / "a.json") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is no JSON: line 1, column 1"),
        ('{"a": 1,\n "b"', "it is no JSON: line 2, column 5"),
        ("{'a': 1}", "it is no JSON: line 1, column 2"),
        ("1 2", "it is no JSON: line 1, column 3"),
        ('"\\q"', "it is no JSON: line 1, column 2"),
        (b"\xff", "it is no JSON: not UTF-8"),
        ("[" * 102 + "]" * 102, "nested more than 100 levels deep"),
        ("[" * 100_000, "nested more than 100 levels deep"),
        ('{"a":' * 100_000, "nested more than 100 levels deep"),
        ("[" * 2_000_000, "more than 1,048,576 values"),
        ("[" + "0," * 1_048_576 + "0]", "more than 1,048,576 values"),
        ("[" + "{}," * 1_000_000 + "{}]", "more than 1,048,576 values"),
        ('{"a": 1, "b": 2, "a": 1}', "it has the key 'a' twice"),
        ('[{"b": 1}, {"a": 1, "a": {}}]', "it has the key 'a' twice"),
        ("[NaN]", "it has the number nan, where finite ones were expected"),
        ('{"a": -Infinity}', "it has the number -inf, where finite ones were expected"),
        ("1e999", "it has the number inf, where finite ones were expected"),
        ("9" * 1001, "it has a whole number of 1,001 digits, where 1,000 are the most"),
        ("-" + "9" * 100_000, "it has a whole number of 100,001 digits"),
        (r'"\ud800"', r"its text '\\ud800' has half of a character"),
        (r'{"\udc00": 1}', r"its text '\\udc00' has half of a character"),
        (r'["a\u0000b"]', r"its text 'a\\x00b' has a NUL character"),
    ],
    ids=lambda each: str(each[:24]),
)
def test_what_is_refused(text, message):
    with pytest.raises(RefusedError, match=message) as caught:
        json_value(text)
    assert len(str(caught.value)) < 120


def test_numbers_that_are_not_finite_may_be_allowed():
    assert math.isnan(json_value('{"loss": NaN}', finite=False)["loss"])
    assert json_value("[Infinity, -Infinity, 1e999]", finite=False) == [math.inf, -math.inf, math.inf]


def test_as_deep_and_as_long_as_allowed():
    assert json_value("[" * 100 + "0" + "]" * 100) == json.loads("[" * 100 + "0" + "]" * 100)
    assert json_value("9" * 1000) == 10**1000 - 1
    assert json_value(r'"\ud83d\ude00"') == "\U0001f600"


def test_a_key_twice_among_many_is_found_in_time():
    names = [f"key {number}" for number in range(200_000)]
    text = "{" + ",".join(f'"{name}":0' for name in [*names, names[-1]]) + "}"
    with pytest.raises(RefusedError, match="it has the key 'key 199999' twice"):
        json_value(text)


def test_damaged_texts_are_read_or_refused():
    content = json.dumps({"name": "é", "list": [1, 2.5, {"inner": None}], "yes": True}, ensure_ascii=False).encode()
    generator, refused = random.Random(0), 0
    cases = [content[:end] for end in range(len(content))]
    for _ in range(2000):
        changed = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        cases.append(bytes(changed))
    for case in cases:
        try:
            json_value(case)
        except RefusedError:
            refused += 1
    assert len(cases) // 2 < refused < len(cases)
