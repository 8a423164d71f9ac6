import gc

import pytest

from tfprune.errors import RunFolderError
from tfprune.files import write_text
from tfprune.training import RunFolder
from tfprune.training.worker_folder import WorkerFolder


@pytest.fixture
def chief(tmp_path):
    return RunFolder.create(tmp_path / "run", {"epochs": 1})


def test_finished_files_are_seen_and_never_changed(chief):
    write_text(chief.file("masks.json"), "chief")
    folder = WorkerFolder(chief.path)
    assert folder.file("masks.json").read_text() == "chief"
    write_text(folder.file("masks.json"), "worker")
    assert folder.file("masks.json").read_text() == "worker"
    assert chief.file("masks.json").read_text() == "chief"


def test_a_file_that_the_chief_finishes_later_is_seen_then(chief):
    folder = WorkerFolder(chief.path)
    assert not folder.file("masks.json").exists()
    write_text(chief.file("masks.json"), "chief")
    assert folder.file("masks.json").read_text() == "chief"


def test_tables_events_and_checkpoints_are_its_own(chief):
    log = chief.metrics("training")
    log.append({"step": 1, "loss": 0.5})
    (chief.checkpoints("training") / "checkpoint").touch()
    before = sorted(chief.path.rglob("*"))
    folder = WorkerFolder(chief.path)
    assert folder.metrics("training", last_step=9).rows == []
    folder.metrics("training").append({"step": 3, "loss": 0.1})
    assert not list(folder.checkpoints("training").iterdir())
    folder.write_result({"accuracy": 1.0})
    assert sorted(chief.path.rglob("*")) == before
    assert chief.metrics("training", last_step=9).rows == [{"step": 1, "loss": 0.5}]


def test_nothing_is_left(chief):
    folder = WorkerFolder(chief.path)
    write_text(folder.file("a.txt"), "a")
    path = folder.path
    del folder
    gc.collect()
    assert not path.exists()
    assert chief.path.exists()


def test_names_are_plain(chief):
    with pytest.raises(RunFolderError, match="expected a plain file name"):
        WorkerFolder(chief.path).file("../settings.yaml")
