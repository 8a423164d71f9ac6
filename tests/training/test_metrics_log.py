import json

import pytest

from tfprune.errors import RunFolderError
from tfprune.training.metrics_log import MetricsLog


def test_rows_go_to_both_files(tmp_path):
    log = MetricsLog(tmp_path / "fit", last_step=-1)
    log.append({"step": 10, "loss": 0.1})
    log.append({"step": 20, "loss": 1 / 3})
    assert (tmp_path / "fit.csv").read_text() == "step,loss\n10,0.1\n20,0.3333333333333333\n"
    lines = (tmp_path / "fit.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 10, "loss": 0.1}, {"step": 20, "loss": 1 / 3}]


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    log = MetricsLog(tmp_path / "fit", last_step=-1)
    for step in (10, 20, 30):
        log.append({"step": step, "loss": 1.0})
    with (tmp_path / "fit.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')  # killed while writing
    log = MetricsLog(tmp_path / "fit", last_step=20)
    assert [row["step"] for row in log.rows] == [10, 20]
    log.append({"step": 30, "loss": 2.0})
    assert (tmp_path / "fit.csv").read_text() == "step,loss\n10,1.0\n20,1.0\n30,2.0\n"
    assert len((tmp_path / "fit.jsonl").read_text().splitlines()) == 3


def test_columns_stay(tmp_path):
    log = MetricsLog(tmp_path / "fit", last_step=-1)
    log.append({"step": 1, "loss": 1.0})
    with pytest.raises(RunFolderError, match="columns"):
        log.append({"step": 2, "accuracy": 1.0})
