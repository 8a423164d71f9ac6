import pytest


@pytest.fixture(scope="session")
def golden(golden_dpp):
    """Numbers computed with the original DPP code."""
    return golden_dpp
