import os

import pytest

from tfprune.exporting.output import output_file
from tfprune.exporting.saved_model import output_folder
from tfprune.files import WriteError

KIND = frozenset({"a", "b"})


def test_a_folder_that_cannot_move_in_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "a").write_text("old")
    replace = os.replace

    def refuse(source, target):
        if str(source).endswith(".partial"):
            raise PermissionError("no")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with (
        pytest.raises(WriteError, match=r"cannot write .*folder: no; make room"),
        output_folder(path, KIND) as partial,
    ):
        partial.mkdir()
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    for state in ("partial", "old"):
        (tmp_path / f".folder.{state}").mkdir()
        (tmp_path / f".folder.{state}" / "b").write_text("stale")
    with output_folder(tmp_path / "folder", KIND) as partial:
        partial.mkdir()
        (partial / "a").write_text("new")
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")] == ["folder", "folder/a"]


def test_a_folder_left_between_the_renames_outlives_a_second_failure(tmp_path):
    (tmp_path / ".folder.old").mkdir()
    (tmp_path / ".folder.old" / "a").write_text("old")
    with pytest.raises(OSError, match="disk full"), output_folder(tmp_path / "folder", KIND):
        raise OSError("disk full")
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")] == ["folder", "folder/a"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "folder").mkdir()
    with output_folder(tmp_path / "folder", KIND) as partial:
        partial.mkdir()
        (partial / "a").write_text("new")
    assert (tmp_path / "folder" / "a").read_text() == "new"


def test_the_file_appears_when_it_is_whole(tmp_path):
    with output_file(tmp_path / "file.txt") as partial:
        partial.write_text("new")
        assert partial.suffix == ".txt"
        assert not (tmp_path / "file.txt").exists()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.txt", "new")]


def test_nothing_is_written_through_links_that_lie_beside_it(tmp_path):
    for state in ("partial", "old"):
        (tmp_path / state).mkdir()
        (tmp_path / state / "mine").write_text("mine")
        (tmp_path / f".model.{state}").symlink_to(tmp_path / state)
    with output_folder(tmp_path / "model", frozenset({"mine"})) as partial:
        partial.mkdir()
        (partial / "mine").write_text("new")
    assert (tmp_path / "model" / "mine").read_text() == "new"
    assert [(tmp_path / state / "mine").read_text() for state in ("partial", "old")] == ["mine", "mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "old", "partial"]
