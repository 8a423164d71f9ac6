import gc
import json
import os
import threading

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.arguments import POOL, answer
from tfprune.errors import ConfigError, RunFolderError, TfpruneError
from tfprune.files import write_text
from tfprune.recipes.training import RunFolder
from tfprune.recipes.training.logs import Journal
from tfprune.recipes.training.run_folder import MetricsLog, WorkerFolder

SETTINGS = {"learning_rate": 0.01, "points": (0.3, 0.6), "arch": "ResNet-20", "data_path": None}


def test_a_new_run_records_how_it_was_started(tmp_path):
    run = RunFolder.create(tmp_path / "deep" / "run", SETTINGS, seed=7)
    assert not run.resumed
    assert yaml.safe_load((run.path / "settings.yaml").read_text()) == {**SETTINGS, "points": [0.3, 0.6]}
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["seed"] == 7
    assert environment["packages"]["tensorflow"] == tf.__version__
    assert environment["argv"]
    assert environment["devices"]


def test_an_existing_run_is_not_changed(tmp_path):
    RunFolder.create(tmp_path, SETTINGS)
    with pytest.raises(RunFolderError, match="add --resume to continue it, --overwrite to replace it"):
        RunFolder.create(tmp_path, SETTINGS)
    assert RunFolder.create(tmp_path, SETTINGS, resume=True).resumed


def test_resuming_without_a_run_starts_one(tmp_path):
    assert not RunFolder.create(tmp_path / "new", SETTINGS, resume=True).resumed
    (tmp_path / "new" / "settings.yaml").unlink()  # as if killed between two files
    assert not RunFolder.create(tmp_path / "new", SETTINGS).resumed


def test_resuming_names_the_changed_settings(tmp_path):
    RunFolder.create(tmp_path, SETTINGS)
    with pytest.raises(RunFolderError, match=r"other settings: extra \(None -> 1\), learning_rate \(0.01 -> 0.1\);"):
        RunFolder.create(tmp_path, {**SETTINGS, "learning_rate": 0.1, "extra": 1}, resume=True)


def test_overwriting_removes_only_files_of_the_run(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    run = RunFolder.create(tmp_path, SETTINGS)
    run.metrics("train").append({"step": 1, "loss": 2.0})
    with run.events("train").as_default(step=1):
        tf.summary.scalar("loss", 2.0)
    (run.checkpoints("train") / "ckpt-1.index").write_text("x")
    (run.checkpoints("train") / "mine.bin").write_text("precious")
    (run.folder("saved_model") / "weights").write_text("x")
    run.file("model.keras").write_text("x")
    run.write_result({"top1": 0.5})
    new = RunFolder.create(tmp_path, {**SETTINGS, "learning_rate": 1.0}, overwrite=True)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "mine.txt",
        "checkpoints/train/mine.bin",
        "run.json",
        "run.lock",
        "settings.yaml",
        "environment.json",
    }
    assert new.checkpoints("train").is_dir()


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
@pytest.mark.parametrize("begun", [True, False])
def test_a_folder_in_use_is_not_touched(tmp_path, flags, begun):
    """By another thread, here; for other processes see the tests of the locks."""
    run = RunFolder.create(tmp_path, SETTINGS)
    write_text(run.file("model.keras"), "x")
    if not begun:
        (tmp_path / "settings.yaml").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    errors = []

    def other():
        try:
            RunFolder.create(tmp_path, SETTINGS, **flags)
        except RunFolderError as error:
            errors.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    (error,) = errors
    assert error.startswith(f"{tmp_path} is in use: process {os.getpid()} on ")
    assert error.endswith("; wait for its end, stop it, or take another --train_path")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_closed_folder_is_free(tmp_path):
    with RunFolder.create(tmp_path, SETTINGS):
        assert (tmp_path / "run.lock").exists()
    assert not (tmp_path / "run.lock").exists()
    with pytest.raises(RunFolderError, match="already holds a run"):
        RunFolder.create(tmp_path, SETTINGS)
    assert not (tmp_path / "run.lock").exists()


def test_other_files_are_never_overwritten(tmp_path):
    (tmp_path / "settings.yaml").write_text("mine: 1\n")
    with pytest.raises(RunFolderError, match="was not made by a run"):
        RunFolder.create(tmp_path, SETTINGS, overwrite=True)
    assert (tmp_path / "settings.yaml").read_text() == "mine: 1\n"
    run = RunFolder.create(tmp_path / "run", SETTINGS)
    (run.path / "model.keras").write_text("mine")
    with pytest.raises(RunFolderError, match="was not made by a run"):
        run.file("model.keras")
    with pytest.raises(RunFolderError, match="plain file name"):
        run.file("../model.keras")


@pytest.mark.parametrize("manifest", ['{"made": ["../../etc"]}', "[]", "{", '{"made": [1]}'])
def test_a_foreign_manifest_removes_nothing(tmp_path, manifest):
    (tmp_path / "run.json").write_text(manifest)
    with pytest.raises(RunFolderError, match="expected the list of a run's files"):
        RunFolder.create(tmp_path, SETTINGS, overwrite=True)


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write the run folder"):
        RunFolder.create(tmp_path / "file" / "run", SETTINGS)
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(RunFolderError, match="cannot write the run folder"):
            RunFolder.create(tmp_path / "locked", SETTINGS)


def test_full_disk(tmp_path, small_files):
    def refused(name):
        return pytest.raises(RunFolderError, match=rf"^cannot write .*{name}: File too large; make room")

    run = RunFolder.create(tmp_path, SETTINGS)
    table = run.metrics("train")
    table.append({"step": 1, "loss": 2.0})
    with small_files(40), refused(r"train\.jsonl"):
        table.append({"step": 2, "loss": 1.0})
    assert run.metrics("train", last_step=2).rows == [{"step": 1, "loss": 2.0}]  # half a row does not count
    journal = Journal(run, "fit", last_step=0)
    with small_files(250), refused("events/fit"):
        journal._write_events("epoch", {"step": 1, **{f"loss{number}": 1.0 for number in range(9)}})
    with small_files(1000), refused(r"results\.csv"):
        run.write_result({"x": "y" * 2000})


def test_results(tmp_path):
    run = RunFolder.create(tmp_path, SETTINGS)
    run.write_result({"arch": "a,b", "top1": 0.5, "teacher": None})
    run.write_result({"arch": 'say "x"', "top1": 0.25, "teacher": None})
    assert (tmp_path / "results.csv").read_text() == 'arch,top1,teacher\n"say ""x""",0.25,\n'
    assert json.loads((tmp_path / "results.json").read_text()) == {"arch": 'say "x"', "top1": 0.25, "teacher": None}
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def chief(tmp_path):
    return RunFolder.create(tmp_path / "run", {"epochs": 1})


def test_files_of_the_chief_are_visible_and_never_changed(chief):
    write_text(chief.file("masks.json"), "chief")
    folder = WorkerFolder(chief.path)
    assert folder.file("masks.json").read_text() == "chief"
    write_text(folder.file("masks.json"), "worker")
    assert folder.file("masks.json").read_text() == "worker"
    assert chief.file("masks.json").read_text() == "chief"


def test_later_files_of_the_chief_are_visible(chief):
    folder = WorkerFolder(chief.path)
    assert not folder.file("masks.json").exists()
    write_text(chief.file("masks.json"), "chief")
    assert folder.file("masks.json").read_text() == "chief"


def test_a_worker_has_its_own_tables_events_and_checkpoints(chief):
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


def test_the_folder_of_a_worker_is_removed(chief):
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


def makers(run):
    return run.file, run.folder, run.metrics, run.events, run.checkpoints, WorkerFolder(run.path).file


@pytest.mark.parametrize("name", POOL, ids=lambda each: type(each).__name__)
def test_names_of_any_kind_are_taken_or_refused(name, chief):
    for make in makers(chief):
        assert answer(lambda make=make: make(name)) == ""
    assert {each.name for each in chief.path.parent.iterdir()} == {chief.path.name}


@pytest.mark.parametrize("name", [None, 3, "../out", "a/b", "", ".."])
def test_names_that_are_refused(name, chief):
    for make in makers(chief):
        with pytest.raises(TfpruneError, match=r"expected (a plain file name|the path of a file)"):
            make(name)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": 1, "rate": np.float32(0.5)}, "'rate' = .*float32 is not JSON serializable"),
        ({"rate": float("nan")}, "'rate' = nan .*: it has the number nan, where finite ones were expected"),
        ({"rates": [0.1, {"last": float("-inf")}]}, "'rates' = .*: it has the number -inf"),
        ({"path": "a\udcff"}, "'path' = .*half of a character"),
        ({"big": 10**2000}, "'big' = .*: it has a whole number of 2,001 digits"),
        ({3: 1}, "settings: expected a text, received 3"),
        ([("a", 1)], "settings: expected settings by name, received"),
        (None, "settings: expected settings by name, received None"),
    ],
    ids=str,
)
def test_settings_that_no_run_could_be_resumed_with(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        RunFolder.create(tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_plain_settings_of_any_kind_can_be_resumed_with(tmp_path):
    settings = {"a": (1, 2), "b": {"c": [None, True, 1e-300]}, "d": "ä\n", "e": 10**30}
    with RunFolder.create(tmp_path / "run", settings) as run:
        run.write_result({"accuracy": 0.5})
    with RunFolder.create(tmp_path / "run", settings, resume=True) as run:
        assert run.resumed


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


def test_columns_cannot_change(tmp_path):
    log = MetricsLog(tmp_path / "fit", last_step=-1)
    log.append({"step": 1, "loss": 1.0})
    with pytest.raises(RunFolderError, match="columns"):
        log.append({"step": 2, "accuracy": 1.0})


def test_damaged_lines_are_left_out_and_this_is_said(tmp_path, capsys):
    """Of a table whose rows are in no checkpoint."""
    rows = [{"step": step, "loss": 1.0} for step in range(1, 4)]
    damaged = [b"junk", b"\xff\xfe", b"[1]", b"null", b'{"loss": 1}', b'{"step": "1"}', b'{"step": 2, "loss": []}']
    damaged += [b'{"step": 2}', b"[" * 100_000]
    lines = [json.dumps(row).encode() for row in rows]
    (tmp_path / "fit.jsonl").write_bytes(b"\n".join([lines[0], *damaged, *lines[1:], b'{"step": 9, "lo']))
    log = MetricsLog(tmp_path / "fit", last_step=9)
    assert log.rows == rows
    assert capsys.readouterr().out == (
        f"{tmp_path / 'fit.jsonl'} is damaged: 9 of 12 lines are left out of the table\n"
    )
    assert (tmp_path / "fit.csv").read_text() == "step,loss\n1,1.0\n2,1.0\n3,1.0\n"


def test_rows_of_a_checkpoint_replace_those_of_the_files(tmp_path):
    (tmp_path / "fit.jsonl").write_bytes(b"\xff junk")
    rows = [{"step": 1, "loss": 1.0}]
    log = MetricsLog(tmp_path / "fit", last_step=0, rows=rows)
    log.append({"step": 2, "loss": 0.5})
    assert rows == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]  # the next checkpoint has them all
    assert (tmp_path / "fit.csv").read_text() == "step,loss\n1,1.0\n2,0.5\n"


def test_nothing_is_written_through_links(tmp_path):
    """Neither to the run's own names nor to the folders of single trainings."""
    outside = tmp_path / "outside"
    for name in ("metrics", "events", "checkpoints", "masks.npz"):
        (outside / name).mkdir(parents=True)
    (outside / "events" / "events.out.tfevents.1").write_text("mine")
    run = RunFolder.create(tmp_path / "run", SETTINGS)
    (run.path / "masks.npz").symlink_to(outside / "masks.npz")
    (run.path / "metrics").symlink_to(outside / "metrics")
    for name in ("events", "checkpoints"):
        (run.path / name).mkdir()
        (run.path / name / "fit").symlink_to(outside / name)
    for write in (
        lambda: run.file("masks.npz"),
        lambda: run.metrics("fit"),
        lambda: run.events("fit"),
        lambda: run.checkpoints("fit"),
    ):
        with pytest.raises(RunFolderError, match="is a link, through which no run writes"):
            write()
    assert len(list(outside.rglob("*"))) == 5


def test_settings_of_older_versions(tmp_path):
    """They are in `settings.yaml` alone, and `run.json` has no sum."""
    RunFolder.create(tmp_path, SETTINGS).close()
    made = json.loads((tmp_path / "run.json").read_text())["made"]
    (tmp_path / "run.json").write_text(json.dumps({"made": made}))
    RunFolder.create(tmp_path, SETTINGS, resume=True).close()
    with pytest.raises(RunFolderError, match="with other settings: learning_rate"):
        RunFolder.create(tmp_path, {**SETTINGS, "learning_rate": 0.1}, resume=True)
    for content in (b"\xff", b"{", b"- 1", b"[" * 5000, b"&a [*a"):
        (tmp_path / "settings.yaml").write_bytes(content)
        with pytest.raises(RunFolderError, match=r"cannot read .*settings.yaml: expected settings as `name: value`, "):
            RunFolder.create(tmp_path, SETTINGS, resume=True)


def test_a_run_whose_settings_are_lost_is_not_begun_anew(tmp_path):
    """Its masks and checkpoints would go on with other settings."""
    run = RunFolder.create(tmp_path, SETTINGS)
    write_text(run.file("masks.npz"), "x")
    run.close()
    (tmp_path / "settings.yaml").unlink()
    with pytest.raises(RunFolderError, match="already holds a run"):
        RunFolder.create(tmp_path, {**SETTINGS, "learning_rate": 0.1})
    with pytest.raises(RunFolderError, match="with other settings: learning_rate"):
        RunFolder.create(tmp_path, {**SETTINGS, "learning_rate": 0.1}, resume=True)
