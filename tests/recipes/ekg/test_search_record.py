import errno
import os

import numpy as np
import pytest

from tfprune.errors import RunFolderError
from tfprune.recipes.ekg.stages import load_state, save_state
from tfprune.search.greedy import SearchState
from tfprune.search.state import SubNetwork


def state(steps: int = 3) -> SearchState:
    rng = np.random.default_rng(steps)
    history = tuple(SubNetwork(rng.random(7).astype(np.float32), rng.random(2), rng.random()) for _ in range(steps))
    knowledge = rng.random((5, 10)).astype(np.float32)
    return SearchState(history[-1].rates, history[-1].orders, knowledge, steps, history, 12_345, 2**40, 0.625)


def test_what_is_read_is_what_was_written(tmp_path):
    save_state(state(2), tmp_path / "search.npz")
    save_state(state(3), tmp_path / "search.npz")
    read, written = load_state(tmp_path / "search.npz"), state(3)
    for name in ("rates", "orders", "knowledge"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name in ("members", "params", "flops", "accuracy", "loss"):
        assert getattr(read, name) == getattr(written, name)
        assert type(getattr(read, name)) is type(getattr(written, name))
    assert len(read.history) == 3
    for old, new in zip(written.history, read.history, strict=True):
        np.testing.assert_array_equal(old.orders, new.orders)
        np.testing.assert_array_equal(old.rates, new.rates)
        assert old.loss == new.loss
    assert [file.name for file in tmp_path.iterdir()] == ["search.npz"]


def test_a_failed_write_keeps_the_old_state(tmp_path, monkeypatch):
    path = tmp_path / "search.npz"
    save_state(state(2), path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"cannot write .*search\.npz: No space left on device; make room"):
        save_state(state(3), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "text", "half", "other arrays", "missing"])
def test_damaged_files(tmp_path, damage):
    path = tmp_path / "search.npz"
    save_state(state(), path)
    whole = path.read_bytes()
    if damage == "other arrays":
        np.savez(path, rates=np.ones(2))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "text": b"no state at all", "half": whole[: len(whole) // 2]}[damage])
    advice = "check the path" if damage == "missing" else "start again with --overwrite"
    with pytest.raises(RunFolderError, match=f"cannot read {path}: .*; {advice}"):
        load_state(path)
