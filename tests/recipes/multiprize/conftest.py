"""Runs on a narrow network."""

import pytest

from tfprune.recipes.multiprize import MultiPrizeConfig, run


@pytest.fixture
def tiny_world(few_digits, monkeypatch, tmp_path):
    """Runs the pipeline on a narrow Conv2; gives `run(**settings)`, every run in the folder `tmp_path/train_path`."""
    monkeypatch.chdir(tmp_path)

    def run_tiny(train_path: str | None = "run", **changes):
        settings = {"arch": "Conv2", "width_multiplier": 0.0625, "batch_size": 50, "epochs": 2, "export": False}
        settings |= {"do_log": 2, "seed": 3, "dataset": "digits", "learning_rate": 1.0}
        if not changes.get("dense"):
            settings["density"] = 0.3
        return run(MultiPrizeConfig(train_path=train_path, **settings | changes), few_digits)

    return run_tiny
