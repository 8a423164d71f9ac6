import csv
from pathlib import Path

import pytest
import tensorflow as tf

from tfprune.errors import RunFolderError
from tfprune.recipes.multiprize import MultiPrizeConfig
from tfprune.recipes.multiprize.run_directory import open_run_directory, results_table, table_row
from tfprune.recipes.training import Workers


def config(**changes):
    return MultiPrizeConfig(**{"name": "kn", "experiment": "conv4", "density": 0.2} | changes)


def open_run(settings):
    return open_run_directory(settings, Workers(tf.distribute.get_strategy()))


@pytest.fixture(autouse=True)
def inside(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_names_and_numbers():
    first = "runs/conv4/density=0.2/kn"
    assert [str(open_run(config(seed=seed)).path) for seed in range(3)] == [first, f"{first}/0", f"{first}/1"]
    assert str(open_run(config(seed=2, resume=True)).path) == f"{first}/1"
    with pytest.raises(RunFolderError, match=r"cannot resume the run in .*kn/1 with other settings: seed"):
        open_run(config(seed=0, resume=True))
    (Path(first) / "1" / "mine.txt").write_text("x")
    again = open_run(config(seed=7, overwrite=True))
    assert (str(again.path), again.resumed) == (f"{first}/1", False)
    assert (Path(first) / "1" / "mine.txt").exists()
    assert "seed: 0" in (Path(first) / "0" / ".." / "settings.yaml").read_text()
    assert str(open_run(config(density=0.5)).path) == "runs/conv4/density=0.5/kn"
    assert str(open_run(config(log_dir="other", dense=True, density=None)).path) == "other/conv4/density=1/kn"
    assert str(open_run(config(name="new", resume=True)).path) == "runs/conv4/density=0.2/new"


def test_a_folder_of_ones_own_has_no_numbers():
    assert str(open_run(config(train_path="here")).path) == "here"
    with pytest.raises(RunFolderError, match="here already holds a run"):
        open_run(config(train_path="here"))


def test_the_row_of_a_run():
    settings = config(scope="global", learn_batchnorm=True, seed=4)
    run = open_run(settings)
    results_table(settings).append(table_row(settings, run, {"finished": "now", "accuracy": 0.25, "density": 0.2003}))
    with open("runs/results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    expected = {"folder": "runs/conv4/density=0.2/kn", "experiment": "conv4", "name": "kn", "density": "0.2"}
    expected |= {"scope": "global", "seed": "4", "accuracy": "0.25", "learn_batchnorm": "True", "best_accuracy": ""}
    assert expected.items() <= row.items()
    mine = config(train_path="a/b/c")
    results_table(mine).append(table_row(mine, run, {"finished": "now"}))
    assert Path("a/b/results.csv").exists()
