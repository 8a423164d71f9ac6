"""Runs on a tiny network and a few digits."""

import keras
import pytest

from tests.models import tiny_architecture
from tfprune.recipes import method
from tfprune.recipes.tickets import DenseConfig, TicketConfig
from tfprune.recipes.tickets import run as run_tickets


@pytest.fixture
def tiny_world(few_digits, monkeypatch, tmp_path):
    """Runs the method on the tiny network; gives `run(**settings)`, every run in a folder `train_path` of its own."""
    monkeypatch.setattr(method, "build_model", tiny_architecture)
    monkeypatch.setattr(method, "load_checkpoint", lambda path, **_: keras.saving.load_model(path))

    def run(train_path="run", kind=TicketConfig, **changes):
        settings = {"batch_size": 50, "epochs": 2, "milestones": (1,), "export": False, "do_log": 2}
        if kind is TicketConfig:
            settings |= {"density": 0.3, "prune_iters": 3, "samples_per_class": 2, "rounds": 2}
        return run_tickets(kind(train_path=str(tmp_path / train_path), **settings | changes), few_digits)

    run.dense = lambda train_path="dense", **changes: run(train_path, DenseConfig, **changes)
    return run
