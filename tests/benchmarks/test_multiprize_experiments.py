import multiprize_experiments
from pages import written_part


def test_the_page_is_what_the_generator_gives():
    page = multiprize_experiments.PAGE.read_text(encoding="utf-8")
    assert written_part(page, "multiprize_experiments.py") == multiprize_experiments.tables().strip()
