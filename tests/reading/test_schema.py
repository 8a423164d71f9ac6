"""Plain values as objects of declared types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pytest

from tfprune.reading import Count, Name, RefusedError, Size, typed


@dataclass(frozen=True)
class Part:
    name: Name
    size: Size
    keep: tuple[Count, ...] = ()

    def __post_init__(self):
        if len(self.keep) > self.size:
            raise ValueError(f"keep: expected at most {self.size} numbers, got {len(self.keep)} - at `$.x`")


@dataclass
class Whole:
    parts: tuple[Part, ...]
    rate: float | Mapping[str, float] = 1.0
    kind: Literal["a", "b"] = "a"
    by_name: dict[str, Part] = field(default_factory=dict)


def test_values_become_objects():
    content = {"parts": [{"name": "x", "size": 2, "keep": [0, 5]}], "rate": {"y": 1}, "by_name": {"z": PART}}
    assert typed(content, Whole) == Whole((Part("x", 2, (0, 5)),), {"y": 1.0}, by_name={"z": Part("z", 1)})
    assert typed({"parts": []}, Whole) == Whole(())


PART = {"name": "z", "size": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected object, got array"),
        (None, "expected object, got null"),
        ({}, "object missing required field parts"),
        ({"parts": [PART, {"name": "x"}]}, "parts[1]: object missing required field size"),
        ({"parts": [{**PART, "size": True}]}, "parts[0].size: expected int, got bool"),
        ({"parts": [{**PART, "size": "1"}]}, "parts[0].size: expected int, got str"),
        ({"parts": [{**PART, "size": 0}]}, "parts[0].size: expected int >= 1"),
        ({"parts": [{**PART, "size": 2**63}]}, "parts[0].size: expected int <= 9223372036854775807"),
        ({"parts": [{**PART, "keep": [-1]}]}, "parts[0].keep[0]: expected int >= 0"),
        ({"parts": [{**PART, "keep": [1, 2]}]}, "parts[0].keep: expected at most 1 numbers, got 2 - at `$.x`"),
        ({"parts": [{**PART, "name": ""}]}, "parts[0].name: expected str of length >= 1"),
        ({"parts": [{**PART, "more": 1}]}, "parts[0]: expected the members keep, name, size, got 'more', too"),
        ({"parts": [], "rate": None}, "rate: expected float | object, got null"),
        ({"parts": [], "rate": {"x": "1"}}, "rate[...]: expected float, got str"),
        ({"parts": [], "kind": "c"}, "kind: invalid enum value 'c'"),
        ({"parts": [], "by_name": {"x": {**PART, "more": 1}}}, "by_name[...]: expected the members keep, name, size"),
        ({"parts": [], "x" * 999: 1}, "expected the members by_name, kind, parts, rate, got 'xxx"),
    ],
)
def test_the_member_that_is_wrong_is_named(content, message):
    with pytest.raises(RefusedError) as caught:
        typed(content, Whole)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200
