"""Messages of errors: one line, whatever is in them."""

import pytest

from tfprune import errors
from tfprune.files import WriteError

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.TfpruneError)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_is_one_printable_line(kind):
    assert str(kind("expected a file, received 'a\nb\t\x1b[31m\udcff \u202e'; name another")) == (
        "expected a file, received 'a b \\x1b[31m\\udcff \\u202e'; name another"
    )


def test_long_words_and_long_messages_lose_their_middle():
    said = str(errors.ConfigError(f"expected a file, received /a{'x' * 5000}/b.txt; name another"))
    assert said.startswith("expected a file, received /axxx")
    assert said.endswith("x/b.txt; name another")
    assert len(said) < 250
    said = str(errors.ConfigError("begin " + "word " * 5000 + "end"))
    assert said.startswith("begin word")
    assert said.endswith("word end")
    assert len(said) == 800


def test_an_error_of_the_system_is_one_line_too():
    error = WriteError("cannot write a\nb: full", "full")
    assert str(error) == "cannot write a b: full"
    assert error.strerror == "full"
