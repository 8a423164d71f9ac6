import pytest
from pages import rewrite, with_part, written_part

BEGIN, END = "<!-- written by benchmarks/some.py -->", "<!-- end of what the program writes -->"
PAGE = f"# Title\n\nBy hand.\n\n{BEGIN}\n\nold\n\n{END}\n\nMore.\n"


def test_the_text_around_a_part_stays():
    new = with_part(PAGE, "some.py", "| new |\n")
    assert new == PAGE.replace("old", "| new |")
    assert written_part(new, "some.py") == "| new |"
    assert with_part(new, "some.py", "old") == PAGE


def test_without_an_end_the_part_is_the_rest(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.partition("old")[0])
    rewrite(page, "some.py", "new")
    assert page.read_text() == PAGE.partition("old")[0] + f"new\n\n{END}"


def test_the_part_of_another_program_is_missing():
    with pytest.raises(ValueError, match=r"<!-- written by benchmarks/other.py -->"):
        with_part(PAGE, "other.py", "new")
