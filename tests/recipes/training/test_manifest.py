"""What overwriting a run removes, and what it never removes."""

import json
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tfprune.errors import RunFolderError
from tfprune.recipes.training import RunFolder, manifest
from tfprune.recipes.training.manifest import Manifest, is_plain, known_names, remove_run

SETTINGS = {"epochs": 1}
PAGE = Path(__file__).parents[3] / "docs" / "runs.md"


def tree(folder):
    """All paths below a folder, links not followed, with the content of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        link = os.readlink(path) if path.is_symlink() else None
        found[str(path.relative_to(folder))] = link or (path.read_bytes() if path.is_file() else "folder")
    return found


@pytest.fixture
def box(tmp_path):
    """A folder with other work in it, and in it the folder `run` with a finished run."""
    (tmp_path / "results" / "other_run").mkdir(parents=True)
    (tmp_path / "results" / "other_run" / "trained.keras").write_text("weeks of work")
    (tmp_path / "results" / "thesis.tex").write_text("years of work")
    with RunFolder.create(tmp_path / "results" / "run", SETTINGS) as run:
        run.file("trained.keras").write_text("x")
        (run.checkpoints("training") / "ckpt-1.index").write_text("x")
        (run.checkpoints("training") / "checkpoint").write_text("x")
        run.metrics("training").append({"step": 1})
        (run.folder("digits_knowledge") / "shard-00000.npy").write_text("x")
        run.events("training").close()
        run.write_result({"accuracy": 1.0})
    (run.path / "notes.txt").write_text("mine")
    return tmp_path / "results"


def overwritten(folder):
    RunFolder.create(folder, SETTINGS, overwrite=True).close()


def refuses(box, match):
    before = tree(box)
    with pytest.raises(RunFolderError, match=match) as caught:
        overwritten(box / "run")
    assert "\n" not in str(caught.value)
    assert tree(box) == before


def test_a_run_is_removed_and_nothing_else(box):
    before = tree(box)
    overwritten(box / "run")
    left = tree(box)
    assert {name for name in left if name.startswith("run/")} == {
        "run/notes.txt",
        "run/run.json",
        "run/settings.yaml",
        "run/environment.json",
    }
    assert {name: left[name] for name in before if not name.startswith("run/")} == {
        name: content for name, content in before.items() if not name.startswith("run/")
    }


NAMES = ["..", ".", "", "/", "a/b", "../other_run", "./trained.keras", "trained.keras/", "a\0b", "run.json", "run.lock"]


@pytest.mark.parametrize("name", [*NAMES, 1, None, ["x"], {"x": 1}])
def test_names_that_lead_elsewhere(box, name):
    """As in a list that somebody sends; alone, and among names of a run."""
    for made in ([name], ["trained.keras", name]):
        (box / "run" / "run.json").write_text(json.dumps({"made": made}))
        refuses(box, "cannot read .*run.json: expected the list of a run's files, ")
    absolute = str(box / "other_run")
    (box / "run" / "run.json").write_text(json.dumps({"made": [absolute]}))
    refuses(box, "expected the list of a run's files")


def test_other_names_are_refused_even_in_the_folder(box):
    for name in ("notes.txt", "thesis.tex", ".git", "src", "Masks.npz"):
        (box / "run" / name).write_text("mine")
        (box / "run" / "run.json").write_text(json.dumps({"made": ["trained.keras", name]}))
        refuses(box, rf"{re.escape(name)} has no name that runs give: nothing was removed; remove it yourself, or")
    (box / "run" / "run.json").write_text(json.dumps({"made": ["trained.keras"]}))
    (box / "run" / "trained.keras").unlink()
    (box / "run" / "trained.keras").mkdir()
    refuses(box, "trained.keras has no name that runs give")


def test_more_names_of_a_kind_of_run(tmp_path):
    run = RunFolder.create(tmp_path, SETTINGS)
    for name in ("fold1.txt", "fold2.txt"):
        run.file(name).write_text("x")
    with pytest.raises(RunFolderError, match=r"fold1\.txt has no name that runs give"):
        RunFolder.create(tmp_path, SETTINGS, overwrite=True)
    RunFolder.create(tmp_path, SETTINGS, overwrite=True, makes=["fold*.txt"]).close()
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "settings.yaml", "environment.json"}


@pytest.mark.parametrize("name", ["trained.keras", "checkpoints", "metrics", "events", "digits_knowledge"])
@pytest.mark.parametrize("whole", [True, False])
def test_links_out_of_the_folder(box, name, whole):
    """The run's own name is a link, or one below it."""
    entry = box / "run" / name
    inner = None if whole or entry.is_file() else next(iter(entry.iterdir()))
    link = inner or entry
    target = box / f"elsewhere_{link.name}"
    link.rename(target)
    link.symlink_to(target)
    refuses(box, "is a link")


def test_the_list_itself_is_a_link(box):
    (box / "run" / "run.json").rename(box / "list.json")
    (box / "run" / "run.json").symlink_to(box / "list.json")
    refuses(box, "run.json: expected the list of a run's files, it is a link")


def test_a_run_folder_behind_a_link_is_one(box):
    """Only what is below it counts."""
    (box / "linked").symlink_to(box / "run")
    overwritten(box / "linked")
    assert not (box / "run" / "trained.keras").exists()


def test_neither_root_nor_home_nor_what_is_above(box, monkeypatch):
    for home in (box / "run", box / "run" / "deep" / "home"):
        monkeypatch.setenv("HOME", str(home))
        refuses(box, "is no run folder: nothing was removed")
    monkeypatch.undo()
    with pytest.raises(RunFolderError, match=r"^/ is no run folder: nothing was removed"):
        remove_run(Path("/"), ["trained.keras"])


@pytest.mark.parametrize(
    "content", ["[]", "{", "", "null", "7", '{"made": "x"}', '{"made": []', "[" * 100_000, '{"made": [], "made2": 1}']
)
def test_lists_that_are_none(box, content):
    (box / "run" / "run.json").write_text(content)
    refuses(box, "cannot read .*run.json: expected the list of a run's files, .*; move it away, or take another")


def test_any_changed_byte_of_a_list_is_noticed(tmp_path):
    written = Manifest(["settings.yaml"], {"epochs": 12})
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    content = bytearray((tmp_path / "run.json").read_bytes())
    noticed = 0
    for place, byte in enumerate(content):
        content[place] ^= 1
        (tmp_path / "run.json").write_bytes(content)
        content[place] = byte
        try:
            found = Manifest.read(tmp_path)
        except RunFolderError:
            noticed += 1
        else:
            assert found == written
            assert chr(byte).isspace()
    assert noticed > 0.8 * len(content)


def test_every_name_of_the_page_is_one_that_runs_give(tmp_path):
    table = PAGE.read_text(encoding="utf-8").partition("| file |")[2].partition("\n\n")[0]
    names = {name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    names = {name.replace("<dataset>", "digits") for name in names} - {"run.json"}
    assert len(names) > 20
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "mine.txt").touch()
    assert set(known_names(tmp_path)) == names


def test_no_pattern_is_open():
    """A pattern that matched anything would make the closed set of names an open one."""
    strange = ("thesis.tex", "main.py", "src", "data", ".git", "x.csv", "x.npz", "x.json", "Makefile", "run.json")
    for pattern in (*manifest._FILES, *manifest._FOLDERS):
        assert not [name for name in strange if fnmatchcase(name, pattern)]
    assert not [name for name in NAMES if name and is_plain(name)]
