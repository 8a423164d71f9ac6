from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def peekaboo(shared: Path):
    """Numbers computed with the original Peek-a-Boo code."""
    with np.load(shared / "golden" / "peekaboo.npz") as arrays:
        yield arrays
