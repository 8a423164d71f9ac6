"""What errors of tfprune say to a user."""

import pytest

from tfprune.errors import TfpruneError


def message(call, kind=TfpruneError):
    """Returns the message of the error that a function must raise: one line, not too long."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text
