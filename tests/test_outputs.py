"""One rule for all that write: results lie exactly where they were asked for, or there is one line and nothing else.

Missing folders are created with the first result, not before, so a command that fails early leaves nothing behind.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfprune
from tfprune.cli.main import main
from tfprune.errors import TfpruneError
from tfprune.files import ResultsTable, make_folder, write_text
from tfprune.landscape.sections import Section
from tfprune.masks import Masks, Ticket
from tfprune.recipes.training.run_folder import RunFolder

layers = keras.layers
MASKS = Masks({"a": np.ones((2, 3), bool)})
SECTION = Section(np.array([-1.0, 0, 1]), np.ones((2, 3)), 1.0, "batch", 8, 0)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")], name="net")


FILES = {
    "plan.json": lambda model, path: tfprune.plan_channels(model, "l2", density=0.5).save(path),
    "history.json": lambda model, path: history(model).save(path),
    "masks.npz": lambda model, path: MASKS.save(path),
    "ticket.npz": lambda model, path: Ticket(MASKS, {}, {}).save(path),
    "model.keras": lambda model, path: tfprune.save_model(model, path),
    "exported.keras": lambda model, path: tfprune.export(model, path),
    "model.tflite": lambda model, path: tfprune.export(model, path),
    "section.json": lambda model, path: SECTION.save(path),
    "section.png": lambda model, path: SECTION.plot(path),
}
FOLDERS = {
    "saved_model": lambda model, path: tfprune.export_saved_model(model, path),
    "exported": lambda model, path: tfprune.export(model, path, format="saved_model"),
    "run": lambda model, path: RunFolder.create(path, {"a": 1}, resume=False, overwrite=False, seed=0),
    "folder": lambda model, path: make_folder(path),
}
WRITERS = FILES | FOLDERS
SAVED_MODELS = ("saved_model", "exported")
NO_PATHS = ["", " ", "~/NAME", "a\0/NAME", "\udcff/NAME", "x" * 300 + "NAME", "file/NAME", "file/no/NAME", "loop/NAME"]
NO_FOLDERS = [".", "..", "folder", "folder/", "file", "/"]
NO_FILES = [".", "..", "folder", "folder/", "new/NAME/", "/"]


def history(model):
    found = tfprune.PruningHistory()
    tfprune.prune_channels(model, "l2", density=0.5, steps=1, history=found)
    return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: a file, a folder with a file, and a link to itself."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def one_line(said):
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize("name", WRITERS)
def test_missing_folders_are_created_exactly_there(name, model, here):
    before = entries(here)
    WRITERS[name](model, f"new/more/{name}")
    made = [entry for entry in entries(here) if entry not in before]
    assert made[:3] == ["new", "new/more", f"new/more/{name}"]
    assert all(entry.startswith(f"new/more/{name}/") for entry in made[3:])
    assert len(made) == 3 or name in FOLDERS


@pytest.mark.parametrize("name", WRITERS)
def test_names_that_cannot_be_written(name, model, here):
    before = entries(here)
    for bad in NO_PATHS + (NO_FILES if name in FILES else NO_FOLDERS if name in SAVED_MODELS else []):
        text = bad.replace("NAME", name)
        for path in (text, Path(text)) if bad.strip() and bad[-1] != "/" else (text,):
            with pytest.raises(TfpruneError) as caught:
                WRITERS[name](model, path)
            one_line(str(caught.value))
        assert entries(here) == before, bad
    assert (here / "file").read_text() == "mine"


def test_tables_follow_the_rule(here):
    ResultsTable(Path("new/more/table.csv"), ["a"], ["a"]).append({"a": 1})
    write_text(Path("other/text.txt"), "x")
    assert (here / "new/more/table.csv").exists()
    assert (here / "other/text.txt").read_text() == "x"


COMMANDS = {
    "prune": ("prune net.keras NAME.keras --density 0.5", "prune junk.keras NAME.keras --density 0.5"),
    "prune weights": (
        "prune net.keras NAME.npz --criterion magnitude --density 0.5",
        "prune junk.keras NAME.npz --criterion magnitude --density 0.5",
    ),
    "prune --plan": (
        "prune net.keras out.keras --density 0.5 --plan NAME.json",
        "prune junk.keras out.keras --density 0.5 --plan NAME.json",
    ),
    "export": ("export net.keras NAME.tflite", "export junk.keras NAME.tflite"),
    "export a folder": ("export net.keras NAME", "export junk.keras NAME"),
    "benchmark": ("benchmark net.keras --json NAME.json", "benchmark junk.keras --json NAME.json"),
    "landscape": (
        "landscape net.keras --data data.npz --out NAME",
        "landscape junk.keras --data data.npz --out NAME",
    ),
    "dpp teacher": ("dpp teacher --out NAME.npz", "dpp teacher --out NAME.npz --input_dim 0"),
    "dpp student": ("dpp student --teacher data.npz --out NAME.npz", "dpp student --teacher data.npz --out NAME.npz"),
    "dpp prune": (
        "dpp prune --student data.npz --teacher data.npz --k 2 --out NAME.npz",
        "dpp prune --student data.npz --teacher data.npz --k 2 --out NAME.npz",
    ),
    "dpp evaluate": (
        "dpp evaluate --masks data.npz --teacher data.npz --out NAME.npz",
        "dpp evaluate --masks data.npz --teacher data.npz --out NAME.npz",
    ),
    "dpp compare": ("dpp compare --out NAME", "dpp compare --out NAME --node_k 99"),
    "dpp image": ("dpp image --out NAME", "dpp image --out NAME --dataset nothing"),
    "test": (
        "test --model net.keras --dataset digits --json NAME.json",
        "test --model junk.keras --dataset digits --json NAME.json",
    ),
    "train_cifar": (
        "train_cifar --method dense --dataset digits --arch ResNet-8 --train_path NAME",
        "train_cifar --method dense --dataset digits --arch nothing --train_path NAME",
    ),
}
"""For each command with a result: a command line, and one whose input is wrong."""


@pytest.fixture
def inputs(here, model):
    tfprune.save_model(model, "net.keras")
    (here / "junk.keras").write_bytes(b"junk")
    np.savez("data.npz", x=np.zeros((3, 4), np.float32), y=np.zeros(3, int))
    return here


def fails(line, name, capsys):
    words = [word.replace("NAME", name) for word in line.split(" ")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.cli.command.quiet_tensorflow", lambda: None)
        assert main(words) == 2, words
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    one_line(said.rstrip("\n"))
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_what_cannot_be_written(command, inputs, capsys):
    before, line = entries(inputs), COMMANDS[command][0]
    for bad in ["~/x", "file/x", "loop/x", "x" * 300, "" if "NAME" in line.split(" ") else "x" * 245]:
        fails(line, bad, capsys)
        assert entries(inputs) == before, bad


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_fail_early_leave_nothing_behind(command, inputs, capsys):
    before = entries(inputs)
    fails(COMMANDS[command][1], "new/more/result", capsys)
    assert entries(inputs) == before
