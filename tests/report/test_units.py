import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.report.units import Unit


@pytest.mark.parametrize(
    ("values", "prefix", "shown"),
    [
        ([], "", []),
        ([None], "", ["?"]),
        ([0, 99_999, 7], "", ["0", "99,999", "7"]),
        ([100_000, 0, 50, 49], "k", ["100.0", "0", "0.1", "< 0.1"]),
        ([25_636_712, 2_359_808, None], "k", ["25,636.7", "2,359.8", "?"]),
        ([3_870_000_000, 231_211_008], "M", ["3,870.0", "231.2"]),
        ([10**11, 1], "G", ["100.0", "< 0.1"]),
        ([10**15], "G", ["1,000,000.0"]),
    ],
)
def test_examples(values, prefix, shown):
    unit = Unit.of(values)
    assert unit.prefix == prefix
    assert [unit.show(value) for value in values] == shown


@given(st.lists(st.integers(0, 10**13), min_size=1))
def test_what_is_shown_is_near(values):
    unit = Unit.of(values)
    for value in values:
        shown = unit.show(value)
        if shown == "< 0.1":
            assert 0 < value < 0.1 * unit.size
        else:
            assert abs(float(shown.replace(",", "")) * unit.size - value) <= 0.0501 * unit.size
