"""What the runs of all methods leave in their folders, and what their models say about themselves."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import tfprune
from tfprune.cli import programs
from tfprune.cli.main import main as tfprune_command
from tfprune.exporting import read_record
from tfprune.recipes import evaluate
from tfprune.recipes import method as base
from tfprune.recipes.catalog import configs, get_method
from tfprune.recipes.models import build_model

PAGE = Path(__file__).parents[2] / "docs" / "runs.md"
COMMANDS = {
    "tfprune sanity": "--dataset digits --arch Conv2-BN --density 0.5 --epochs 1 --seeds 1 --fraction 0.2 "
    "--methods random --checks shuffled --batch_size 50 --train_path",
    "tfprune dpp compare": "--input_dim 30 --num_data 1000 --student_h_size 3 --repeats 1 --num_masks 2 --examples 100 "
    "--node_k 2 --out",
    "tfprune dpp image": "--widths 8 6 --epochs 1 --pool 2 --repeats 1 --density 0.6 --num_masks 1 --out",
    "tfprune landscape": "start.keras --data examples.npz --points 3 --directions 1 --out",
}
_EKG = {"train_epoch": 1, "num_teacher": 2, "search_target_rate": 0.9, "search_images": 4, "pretrain_images": 12}
CASES = {
    "ekg": _EKG | {"search_batch_size": 24, "trained_param": "start.keras"},
    "peekaboo": {"epochs": 2, "density": 0.5, "prune_iters": 2, "milestones": (1,)},
    "multiprize": {"epochs": 1, "density": 0.5, "augmix": True, "jsd": True, "learn_batchnorm": True, "name": "x"},
    "dense": {"epochs": 2, "milestones": (1,)},
    "ticket": {"epochs": 2, "milestones": (1,), "density": 0.5, "init": "start.keras"},
}


def arch(method):
    return "ResNet-8x2" if method == "ekg" else "Conv2-BN"


def starts(method):
    """The settings that name a file to start from."""
    return {name for name, value in CASES[method].items() if value == "start.keras"}


@pytest.fixture(scope="module")
def run(few_digits, tmp_path_factory):
    """Gives `run(method)`, the result of a run on few digits; each method runs once."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def load(name, path):
        assert (name, path) == ("digits", None)
        return few_digits

    def run_once(method):
        if method not in made:
            settings = {"arch": arch(method), "dataset": "digits", "batch_size": 40, "val_batch_size": 50, "do_log": 9}
            settings |= CASES[method] | {"train_path": str(folder / method)}
            for name in starts(method):
                settings[name] = str(folder / f"{method}_from" / "start.keras")
                start = build_model(arch(method), num_classes=10, input_shape=(8, 8, 1), seed=0)
                tfprune.save_model(start, settings[name])
            made[method] = get_method(method).run(configs()[method](**settings))
        return made[method]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "open_images", lambda config: few_digits)
        patch.setattr(evaluate, "load_data", load)
        yield run_once


def documented(method):
    """The names in the table of the page that has a column for each method."""
    lines = [line.strip("| ").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line] for line in lines]
    head = next(row for row in rows if f"`{method}`" in row)
    column = head.index(f"`{method}`")
    table = rows[rows.index(head) + 2 :]
    table = table[: next(place for place, row in enumerate(table) if len(row) < 3)]
    assert {row[column] for row in table if len(row) > column} <= {"yes", ""}
    named = [row[0] for row in table if len(row) > column and row[column] == "yes"]
    return {name.replace("<dataset>", "digits") for cell in named for name in re.findall(r"`([^`]+)`", cell)}


def accuracy(result):
    return result.numbers.get("accuracy", result.numbers.get("after_accuracy"))


def test_there_is_a_case_for_every_method():
    assert CASES.keys() == configs().keys()


@pytest.mark.parametrize("method", CASES)
def test_the_folder_holds_what_the_page_says(method, run):
    assert {path.name for path in run(method).folder.iterdir()} == documented(method)


@pytest.mark.parametrize("method", CASES)
def test_every_model_says_what_it_is(method, run, few_digits):
    result = run(method)
    settings = yaml.safe_load((result.folder / "settings.yaml").read_text())
    files = [*result.folder.glob("*.keras"), result.folder / "saved_model"]
    assert len(files) >= 3
    for file in files:
        record = read_record(file)
        assert (record["method"], record["file"], record["arch"]) == (method, file.name, arch(method))
        assert (record["dataset"], record["num_classes"], record["input_shape"]) == ("digits", 10, [8, 8, 1])
        images = (few_digits.test_images - np.float32(record["mean"])) / np.float32(record["std"])
        np.testing.assert_allclose(images, few_digits.normalize(few_digits.test_images), rtol=1e-5, atol=1e-6)
        assert record["augmentation"]["crop_padding"] == 1
        assert str(result.folder.parent) not in json.dumps(record)  # nor any other folder of this machine
        folders = {"data_path", "baseline_path"} & settings.keys()
        assert record["settings"].keys() == settings.keys() - folders
        changed = {name for name in record["settings"] if record["settings"][name] != settings[name]}
        assert changed == starts(method)
        assert all(record["settings"][name] == "start.keras" for name in changed)
    for file in (result.folder / "trained.keras", result.folder / "saved_model"):
        if file.name != "saved_model" or method != "multiprize":
            assert read_record(file)["numbers"]["test_accuracy"] == accuracy(result)


def test_how_images_were_changed(run):
    """The originals' models say so, too; and which of EKG's models was trained on such images."""
    for file in ("best.keras", "trained.keras"):
        record = read_record(run("multiprize").folder / file)
        changed = {"augmix": True, "augmix_severity": 3.0, "augmix_width": 3, "augmix_depth": 0, "all_augmix": False}
        assert record["augmentation"] == {"flip": False, "crop_padding": 1, "jsd": True} | changed
        assert record["settings"]["learn_batchnorm"] is True
    fixed = {"flip": False, "crop_padding": 1}
    expected = {"trained": fixed | {"views": 2, "color_jitter": True}, "slimmed": fixed, "baseline": fixed}
    for name, augmentation in expected.items():
        assert read_record(run("ekg").folder / f"{name}.keras")["augmentation"] == augmentation


@pytest.mark.parametrize("method", CASES)
def test_a_file_that_was_moved_is_tested_without_flags(method, run, tmp_path, capsys):
    result = run(method)
    moved = shutil.copy(result.folder / "trained.keras", tmp_path / "moved.keras")
    assert programs.evaluate([str(moved), "--evaluate", "--json", str(tmp_path / "moved.json")]) == 0
    assert json.loads((tmp_path / "moved.json").read_text())["top1"] == pytest.approx(accuracy(result))
    assert programs.evaluate(["--evaluate", "--json", str(tmp_path / "run.json"), str(result.folder)]) == 0
    best = result.folder / "best.json"
    expected = json.loads(best.read_text())["test_accuracy"] if best.exists() else accuracy(result)
    assert json.loads((tmp_path / "run.json").read_text())["top1"] == pytest.approx(expected)
    shown = capsys.readouterr().out
    assert "assumed" not in shown
    assert f"{result.folder.name}/{'best' if best.exists() else 'trained'}.keras, 60 test images" in shown


def test_inspect_says_what_a_run_was(run, capsys):
    file = run("multiprize").folder / "best.keras"
    capsys.readouterr()  # what the training said
    assert tfprune_command(["inspect", str(file), "--no_latency"]) == 0
    first, numbers, augmentation, settings, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("from a run of multiprize: best.keras, Conv2-BN trained on digits, images of 8x8x1, 10 ")
    assert numbers.startswith("numbers: epoch 1, test_accuracy 0.")
    assert "crop_padding 1, augmix True, " in augmentation
    assert settings.startswith("settings other than the defaults: ")
    changed = {"learn_batchnorm True", "jsd True", "density 0.5", "epochs 1", "batch_size 40", "name x"}
    assert changed <= set(settings.partition(": ")[2].split(", "))
    assert "momentum" not in settings


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_folder_of_a_command_holds_what_the_page_says(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = build_model("Conv2-BN", num_classes=10, input_shape=(8, 8, 1), seed=0, width_multiplier=0.1)
    tfprune.save_model(start, "start.keras")
    np.savez("examples.npz", x=np.random.default_rng(0).random((20, 8, 8, 1), np.float32), y=np.arange(20) % 10)
    assert tfprune_command([*command.split()[1:], *COMMANDS[command].split(), "folder"]) == 0
    (row,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{command}` |")]
    names = set(re.findall(r"`([^` ]+)`", row.split("|")[2]))
    assert {path.name for path in Path("folder").iterdir()} == names


def test_there_is_a_row_for_every_command_with_a_folder():
    rows = re.findall(r"^\| `(tfprune [^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(COMMANDS)
