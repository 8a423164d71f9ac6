import pytest
import tensorflow as tf

from tfprune.errors import RunFolderError
from tfprune.files import WriteError
from tfprune.recipes.training import StageTimes
from tfprune.recipes.training.logs import Checkpoints


def opened(folder, value=0.0, size=300):
    variable = tf.Variable(tf.fill([size], value))
    return variable, Checkpoints(folder, {"model": [variable]})


@pytest.fixture
def three(tmp_path):
    """A folder in which 1, 2 and 3 were saved; two checkpoints are kept."""
    variable, checkpoints = opened(tmp_path)
    assert not checkpoints
    checkpoints.restore()  # nothing yet: nothing happens
    for value in (1.0, 2.0, 3.0):
        variable.assign(tf.fill([300], value))
        checkpoints.save()
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["ckpt-2.index", "ckpt-3.index"]
    return tmp_path


def restored(folder):
    variable, checkpoints = opened(folder)
    assert checkpoints
    checkpoints.restore()
    return float(variable[0])


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_latest_checkpoint_is_restored(three):
    assert restored(three) == 3.0


def test_after_a_flipped_bit_the_checkpoint_before_is_restored(three, capsys):
    damage(three / "ckpt-3.data-00000-of-00001")
    assert restored(three) == 2.0
    assert "ckpt-3 is damaged (" in (said := capsys.readouterr().out)
    assert said.endswith("going on from ckpt-2\n")
    variable, checkpoints = opened(three)
    checkpoints.restore()
    variable.assign(tf.fill([300], 4.0))
    checkpoints.save()
    assert restored(three) == 4.0


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("what", ["gone", "short", "empty"])
def test_incomplete_checkpoints(three, part, what):
    file = three / f"ckpt-3.{part}"
    content = file.read_bytes()
    file.unlink()
    if what != "gone":
        file.write_bytes(content[: len(content) // 2 if what == "short" else 0])
    assert restored(three) == 2.0


def test_a_lost_record_of_the_latest_checkpoint(three):
    (three / "checkpoint").write_text("")
    assert restored(three) == 3.0


@pytest.mark.parametrize("field", ["model_checkpoint_path", "all_model_checkpoint_paths"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_record_that_names_checkpoints_of_others(three, tmp_path_factory, field, absolute):
    """TensorFlow removes the checkpoints of its record when newer ones are saved."""
    other = tmp_path_factory.mktemp("other")
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (other / name).write_text("weeks of work")
    name = str(other / "ckpt-1") if absolute else f"../{other.name}/ckpt-1"
    record = {"model_checkpoint_path": "ckpt-3", "all_model_checkpoint_paths": "ckpt-3"} | {field: name}
    (three / "checkpoint").write_text("".join(f'{key}: "{value}"\n' for key, value in record.items()))
    variable, checkpoints = opened(three)
    checkpoints.restore()
    assert float(variable[0]) == 3.0
    for _ in range(3):
        checkpoints.save()
    assert {path.read_text() for path in other.iterdir()} == {"weeks of work"}
    assert len(list(other.iterdir())) == 2


def test_all_checkpoints_are_damaged(three):
    for path in three.glob("*.data*"):
        damage(path)
    with pytest.raises(RunFolderError, match=r"no checkpoint in .* can be read, the latest, ckpt-3, is damaged: "):
        restored(three)


def test_checkpoints_of_another_training(three):
    _, checkpoints = opened(three, size=20)
    with pytest.raises(RunFolderError, match="ckpt-3 is a checkpoint of another training"):
        checkpoints.restore()


def test_a_full_disk_keeps_the_last_checkpoint(three, small_files):
    variable, checkpoints = opened(three)
    checkpoints.restore()
    variable.assign(tf.fill([300], 4.0))
    with small_files(600), pytest.raises(WriteError, match=rf"^cannot write {three}: File too large; make room"):
        checkpoints.save()
    assert restored(three) == 3.0
    assert not list(three.glob("*_temp"))
    checkpoints.save()
    assert restored(three) == 4.0


def test_stage_times_add_up_over_processes_and_interrupts(tmp_path, monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 15.0, 20.0, 21.0])
    monkeypatch.setattr("tfprune.recipes.training.logs.time.monotonic", lambda: next(clock))
    path = tmp_path / "seconds.json"
    times = StageTimes(path)
    with times.stage("search"):
        pass
    with pytest.raises(KeyboardInterrupt), times.stage("bank"):
        raise KeyboardInterrupt
    again = StageTimes(path)
    with again.stage("bank"):
        pass
    assert again.seconds == StageTimes(path).seconds == {"search": 2.0, "bank": 6.0}


DAMAGED = [b"", b"{", b"[]", b"7", b"\xff", b'{"a": "x"}', b'{"a": null}', b'{"a": -1}', b'{"a": NaN}', b"[" * 100_000]


@pytest.mark.parametrize("content", [*DAMAGED, None])
def test_damaged_times_begin_again_and_this_is_said(tmp_path, content, capsys):
    path = tmp_path / "seconds.json"
    if content is not None:
        path.write_bytes(content)
    assert StageTimes(path, resumed=True).seconds == {}
    assert capsys.readouterr().out == f"{path} is damaged or lost: the seconds of the stages count from here on\n"
    assert StageTimes(path, resumed=True).seconds == {}
    assert not capsys.readouterr().out
