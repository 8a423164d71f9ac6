"""Reference numbers of the originals that score weights."""

import numpy as np
import pytest


def _arrays(name):
    @pytest.fixture(scope="session", name=f"golden_{name}")
    def golden(shared):
        with np.load(shared / "golden" / f"{name}.npz") as arrays:
            yield arrays

    return golden


golden_peekaboo = _arrays("peekaboo")
golden_random_tickets = _arrays("random_tickets")
golden_dpp = _arrays("dpp")
