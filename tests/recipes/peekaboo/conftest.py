"""Runs on a tiny network and a few digits."""

import pytest

from tests.models import tiny_architecture
from tfprune.recipes.peekaboo import PeekabooConfig, pruning
from tfprune.recipes.peekaboo import run as run_peekaboo


@pytest.fixture
def tiny_world(few_digits, monkeypatch, tmp_path):
    """Runs the method on the tiny network; gives `run(**settings)`, every run in a folder `train_path` of its own."""
    monkeypatch.setattr(pruning, "build_model", tiny_architecture)

    def run(train_path="run", **changes):
        settings = {"batch_size": 50, "epochs": 3, "milestones": (2,), "prune_iters": 3, "export": False, "do_log": 2}
        return run_peekaboo(PeekabooConfig(train_path=str(tmp_path / train_path), **settings | changes), few_digits)

    return run
