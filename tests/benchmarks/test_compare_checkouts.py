"""Folders that were made by hand are compared as the runs of two checkouts are."""

import json

import keras
import numpy as np
import pytest

ROWS = [{"epoch": 1, "loss": 0.5, "seconds": 1.0, "latency_ms": 3.0}]


@pytest.fixture
def folders(tmp_path):
    """Two folders with the same files, except for times, in other places."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")], name="net")
    made = []
    for number, name in enumerate(("old", "new")):
        folder = tmp_path / name
        (folder / "metrics").mkdir(parents=True)
        model.save(folder / "model.keras")
        np.savez(folder / "masks.npz", kernel=np.array([True, False]))
        rows = [row | {"seconds": 1.0 + number, "latency_ms": 3.0 + number} for row in ROWS]
        (folder / "metrics" / "training.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / "results.csv").write_text(f"epoch,loss,seconds\n1,0.5,{number}\n")
        (folder / "settings.yaml").write_text(f"lr: 0.1\npath: {folder}/model.keras\n")
        (folder / "0.stdout").write_text(f"wrote {folder}/model.keras in {number + 1}.5 s\n")
        made.append(folder)
    return made


def compared(folders):
    from compare_files import Comparison

    comparison = Comparison(*folders, hidden=tuple(lambda text, f=f: text.replace(str(f), "FOLDER") for f in folders))
    comparison.compare()
    return comparison


def test_folders_that_differ_in_times_and_places_are_the_same(folders):
    comparison = compared(folders)
    assert comparison.differences == []
    assert comparison.notes == []


def test_one_bit_of_a_weight(folders):
    _, new = folders
    model = keras.saving.load_model(new / "model.keras")
    kernel = model.layers[0].kernel.numpy()
    kernel[0, 1] = np.nextafter(kernel[0, 1], np.float32(9))
    model.layers[0].kernel.assign(kernel)
    model.save(new / "model.keras")
    (difference,) = compared(folders).differences
    assert difference.startswith("model.keras: layers/dense/vars/0: 1 of 6 values differ, by ")


def test_the_sign_of_zero_and_the_dtype(folders):
    old, new = folders
    for folder, zero in ((old, 0.0), (new, -0.0)):
        np.savez(folder / "masks.npz", signed=np.array([zero, 1.0]), wide=np.zeros(2, "f4" if folder == old else "f8"))
    assert compared(folders).differences == [
        "masks.npz: signed: 1 of 2 values differ, by 0 at most",
        "masks.npz: wide: float32 (2,) -> float64 (2,)",
    ]


def test_values_of_tables_and_settings(folders):
    _, new = folders
    (new / "metrics" / "training.jsonl").write_text(json.dumps(ROWS[0] | {"loss": 0.25}) + "\n")
    (new / "results.csv").write_text("epoch,seconds\n1,3\n")
    (new / "settings.yaml").write_text(f"lr: 0.2\npath: {new}/other.keras\n")
    assert compared(folders).differences == [
        "metrics/training.jsonl: 0/loss: '0.5' -> '0.25'",
        "results.csv: loss/0 is in OLD only",
        "settings.yaml: lr: '0.1' -> '0.2'",
        f"settings.yaml: path: '{folders[0]}/model.keras' -> '{new}/other.keras'",
    ]


def test_missing_files(folders):
    old, new = folders
    (old / "model.keras").unlink()
    (new / "results.csv").unlink()
    assert compared(folders).differences == ["model.keras is in NEW only", "results.csv is in OLD only"]


def test_other_words_are_a_note(folders):
    _, new = folders
    (new / "0.stdout").write_text(f"has written {new}/model.keras in 1 s\n")
    comparison = compared(folders)
    assert comparison.differences == []
    assert comparison.notes == [
        "0.stdout: 'wrote FOLDER/model.keras in TIME' -> 'has written FOLDER/model.keras in TIME'"
    ]


def test_the_version_of_a_checkout_without_git(tmp_path):
    from compare_checkouts import Checkout

    (tmp_path / "tfprune").mkdir()
    (tmp_path / "tfprune" / "a.py").write_text("1\n")
    checkout = Checkout(tmp_path, tmp_path / "runs", tmp_path / "inputs")
    first = checkout.version()
    (tmp_path / "notes.txt").write_text("not a source")
    assert checkout.version() == first
    (tmp_path / "tfprune" / "b.py").write_text("")
    second = checkout.version()
    (tmp_path / "tfprune" / "b.py").write_text("2\n")
    assert len({first, second, checkout.version()}) == 3


def test_a_command_that_fails_in_both_is_reported(tmp_path, monkeypatch, capsys):
    import compare_checkouts

    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fails.py").write_text("import sys\nsys.exit('out of luck')\n")
    monkeypatch.setattr(compare_checkouts, "RUNS", {"short": ("fails.py",)})
    words = [str(tmp_path / "one"), str(tmp_path / "other"), "--work", str(tmp_path / "work")]
    assert compare_checkouts.main(words) == 1
    assert "    OLD fails in command 0: out of luck\n" in capsys.readouterr().out
