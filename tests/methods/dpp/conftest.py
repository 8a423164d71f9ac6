from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def golden(shared: Path) -> Mapping[str, np.ndarray]:
    """Numbers computed with the original DPP code."""
    with np.load(shared / "golden" / "dpp.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}
