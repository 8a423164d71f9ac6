import multiprize_experiments


def test_the_page_is_what_the_generator_gives():
    there = multiprize_experiments.PAGE.read_text(encoding="utf-8")
    assert multiprize_experiments.page(there) == there
