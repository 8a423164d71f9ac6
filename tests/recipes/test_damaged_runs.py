"""Files of a stopped run that were damaged before it is resumed: they are made again, or one line says what is lost."""

import shutil

import numpy as np
import pytest

from tests.recipes.test_method import Lot, LotConfig
from tfprune.errors import RunFolderError
from tfprune.recipes.training import Loop

EPOCHS, STEPS = 2, 4
BESIDE = ("settings.yaml", "seconds.json", "best.json", "metrics/training.jsonl", "metrics/training_steps.jsonl")
DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "junk": lambda content: b"\xff\x00\xfe\n" * 20,
    "another type": lambda content: b"[7]\n",
    "too deep": lambda content: b"[" * 100_000,
    "rows lost": lambda content: b"".join(content.splitlines(True)[1:]),
    "rows doubled": lambda content: b"".join(line * 2 for line in content.splitlines(True)),
    "a flipped bit": lambda content: content[:-4] + bytes([content[-4] ^ 1]) + content[-3:],
}


@pytest.fixture(scope="module")
def start(few_digits):
    def start_lot(folder, **changes):
        settings = {"batch_size": 50, "dataset": "digits", "export": False, "do_log": 2, "epochs": EPOCHS}
        return Lot(LotConfig(**settings | changes, train_path=str(folder)), few_digits).run()

    return start_lot


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory):
    return start(tmp_path_factory.mktemp("damaged") / "unbroken")


@pytest.fixture(scope="module")
def killed(start, tmp_path_factory):
    """The folder of a run that ended in its second epoch, after a row of its steps."""
    folder, step, done = tmp_path_factory.mktemp("damaged") / "killed", Loop.run_step, []

    def stopping(self, batch):
        done.append(1)
        if len(done) == STEPS + 3:
            raise SystemError("killed")
        return step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run_step", stopping)
        with pytest.raises(SystemError):
            start(folder)
    assert all((folder / name).exists() for name in BESIDE)
    return folder


def tables(folder):
    return {path.name: path.read_text() for path in [*(folder / "metrics").iterdir(), folder / "best.json"]}


def check(resumed, unbroken):
    assert tables(resumed.folder) == tables(unbroken.folder)
    assert (resumed.folder / "settings.yaml").read_text() == (unbroken.folder / "settings.yaml").read_text().replace(
        str(unbroken.folder), str(resumed.folder)
    )
    for one, other in zip(resumed.model.get_weights(), unbroken.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def damage_all(folder, damage, names):
    for name in names:
        content = (folder / name).read_bytes()
        assert damage(content) != content, name
        (folder / name).write_bytes(damage(content))


@pytest.mark.parametrize(("damage", "finished"), [*((damage, False) for damage in DAMAGES), ("junk", True)])
def test_what_lies_beside_the_checkpoints(damage, finished, start, unbroken, killed, tmp_path, capsys):
    folder = shutil.copytree(unbroken.folder if finished else killed, tmp_path / "run")
    damage_all(folder, DAMAGES[damage], BESIDE)
    check(start(folder, resume=True), unbroken)
    said = capsys.readouterr().out
    assert f"{folder / 'settings.yaml'} was damaged, changed or lost: it is written again\n" in said
    lost = f"{folder / 'seconds.json'} is damaged or lost: the seconds of the stages count from here on\n"
    assert (lost in said) == (damage not in ("cut by a byte", "a flipped bit"))  # a line break; a digit


def test_what_lay_beside_the_checkpoints_is_gone(start, unbroken, killed, tmp_path, capsys):
    folder = shutil.copytree(killed, tmp_path / "run")
    for name in (*BESIDE, "environment.json"):
        (folder / name).unlink()
    check(start(folder, resume=True), unbroken)
    assert "seconds.json is damaged or lost" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["junk", "cut", "cut by a byte", None])
def test_the_list_of_the_files(damage, start, killed, unbroken, tmp_path, capsys):
    folder = shutil.copytree(killed, tmp_path / "run")
    if damage is None:
        (folder / "run.json").unlink()
    else:
        damage_all(folder, DAMAGES[damage], ["run.json"])
    if damage != "cut by a byte":  # the last line break
        with pytest.raises(RunFolderError, match=r"was not made by a run|expected the list of a run's files"):
            start(folder)
        with pytest.raises(RunFolderError, match=r"was not made by a run|expected the list of a run's files"):
            start(folder, resume=True, epochs=EPOCHS + 1)
    check(start(folder, resume=True), unbroken)
    assert ("run.json is damaged or lost: it is written again" in capsys.readouterr().out) == (
        damage != "cut by a byte"
    )
    start(folder, overwrite=True, epochs=1)  # with the new list, all is removed


@pytest.mark.parametrize("damage", [*DAMAGES, None])
def test_no_damage_lets_other_settings_through(damage, start, killed, tmp_path):
    folder = shutil.copytree(killed, tmp_path / "run")
    if damage is None:
        (folder / "settings.yaml").unlink()
    else:
        damage_all(folder, DAMAGES[damage], ["settings.yaml"])
    with pytest.raises(RunFolderError, match=r"with other settings: density \(0.25 -> 0.5\), epochs \(2 -> 3\);"):
        start(folder, resume=True, epochs=3, density=0.5)
    with pytest.raises(RunFolderError, match="already holds a run"):
        start(folder, epochs=3)


def test_a_lost_best_model_is_told(start, killed, tmp_path, capsys):
    folder = shutil.copytree(killed, tmp_path / "run")
    (folder / "best.keras").write_bytes(b"junk")
    start(folder, resume=True)
    assert (
        f"{folder / 'best.keras'} is damaged or lost: the best model is that of the epochs" in capsys.readouterr().out
    )
