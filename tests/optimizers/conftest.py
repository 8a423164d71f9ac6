import pytest


@pytest.fixture(scope="session")
def peekaboo(golden_peekaboo):
    """Numbers computed with the original Peek-a-Boo code."""
    return golden_peekaboo
