"""Tables: their style, what fits into how many characters, and that numbers are never cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.tables import Column, count, make_table, paragraph, shortened

LAYER = [Column("layer", "name"), Column("width"), Column("why", "text")]
NAMES = st.text("abcdef_/", min_size=1, max_size=70)


def test_columns_without_heading_and_content_are_left_out():
    rows = [("a", "1", ""), ("b", "20", "")]
    assert make_table([*LAYER[:2], Column("", "text")], rows, indent=0) == "layer  width\na          1\nb         20"
    assert make_table([Column("", "name"), Column("")], [("a", "1")], indent=0) == "a  1"  # and no empty heading
    assert make_table(LAYER[:2], [("a", "1"), None, ("all", "1")], indent=1).splitlines() == [
        " layer  width",
        " a          1",
        " ------------",
        " all        1",
    ]


def test_long_names_keep_both_ends_and_differ():
    names = ["block_with_a_long_name_1_conv_of_the_branch", "block_with_a_long_name_2_conv_of_the_branch"]
    lines = make_table(LAYER[:2], [(name, "8") for name in names], width=30, indent=0).splitlines()
    assert all(len(line) == 30 for line in lines[1:])
    first, second = (line.split()[0] for line in lines[1:])
    assert first != second
    assert all(each.startswith("bl") and each.endswith("branch") and "…" in each for each in (first, second))
    assert shortened("block_16_project_BN", 30) == "block_16_project_BN"


def test_the_folder_of_most_names_is_written_once_and_only_where_room_is_short():
    rows = [("backbone/block/conv1", "8"), ("backbone/block/conv2", "16"), ("fc", "2")]
    assert make_table(LAYER[:2], rows, width=40).splitlines()[1].split() == ["backbone/block/conv1", "8"]
    assert make_table(LAYER[:2], rows, width=26).splitlines() == [
        "  …/ is backbone/block/",
        "  layer    width",
        "  …/conv1      8",
        "  …/conv2     16",
        "  fc           2",
    ]
    rows[-1] = ("head/fc", "2")
    assert make_table(LAYER[:2], rows, width=26).splitlines()[-1].split() == ["head/fc", "2"]
    other = [("stem/conv1", "8"), ("head/conv2", "16"), ("body/conv_with_a_long_name", "16")]
    assert make_table(LAYER[:2], other, width=26).splitlines()[1].split() == ["stem/conv1", "8"]


def test_lists_of_names_show_what_there_is_room_for():
    columns = [Column("group", "name"), Column("channels"), Column("also made by", "name")]
    rows = [("conv", "8", ("second_conv", "third_conv", "fourth_conv")), ("other", "4", ())]

    def cell(width):
        return make_table(columns, rows, width=width, indent=0).splitlines()[1].partition("8")[2].strip()

    assert cell(80) == "second_conv, third_conv, fourth_conv"
    assert cell(52) == "second_conv, third_conv and 1 more"
    assert cell(40) == "second_conv and 2 more"
    assert cell(38) == "secon…conv and 2 more"
    assert cell(30) == "3 layers"


def test_texts_are_wrapped_under_their_own_column():
    rows = [("conv", "8", "the sum with the other branch needs it")]
    assert make_table(LAYER, rows, width=42, indent=0).splitlines() == [
        "layer  width  why",
        "conv       8  the sum with the other",
        "              branch needs it",
    ]


@given(
    st.lists(st.tuples(NAMES, st.integers(0, 10**12), st.text("abc ", max_size=90)), min_size=1, max_size=6),
    st.integers(60, 140),
)
def test_every_table_fits_and_shows_every_number(rows, width):
    cells = [(name, f"{number:,}", " ".join(text.split())) for name, number, text in rows]
    table = make_table(LAYER, cells, width=width)
    lines = table.splitlines()
    assert max(map(len, lines)) <= width
    assert [number for _, number, _ in cells] == re.findall(r"(?<=  )[\d,]+(?=  |$)", table, re.MULTILINE)


@given(st.sets(NAMES, min_size=1, max_size=8), st.integers(16, 60))
def test_shortened_names_stay_different_where_they_can(names, width):
    table = make_table([Column("layer", "name")], [(name,) for name in sorted(names)], width=width, indent=0)
    shown = [line for line in table.splitlines() if not line.startswith("…/ is ")][1:]
    assert len(shown) == len(names)
    assert all(len(each) <= max(width, 16) for each in shown)


def test_paragraphs():
    assert paragraph("a bc d", width=4) == "a bc\nd"
    assert paragraph("a bc d", width=6, indent=1, hanging=2) == " a bc\n   d"
    assert paragraph("a/path/that/is/long x", width=10) == "a/path/that/is/long\nx"


@pytest.mark.parametrize(("number", "shown"), [(0, "0 epochs"), (1, "1 epoch"), (1234, "1,234 epochs")])
def test_counts_with_their_noun(number, shown):
    assert count(number, "epoch") == shown
