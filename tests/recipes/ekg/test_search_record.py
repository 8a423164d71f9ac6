import errno
import os
from types import SimpleNamespace

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


def searching(gates=2, channels=7, images=5, classes=10):
    """What a search knows of its sizes."""
    groups = type("Groups", (), {"channels": channels, "__len__": lambda self: gates})()
    model = SimpleNamespace(output_shape=(None, classes))
    return SimpleNamespace(groups=groups, images=np.zeros((images, 4)), model=model)


def test_the_state_of_another_search_is_refused(tmp_path):
    path = tmp_path / "search.npz"
    save_state(state(), path)
    assert load_state(path, searching()).members == 3
    for changed, said in (
        ({"gates": 3}, r"its array 'history_rates' has the shape \[3, 2\], expected \[steps = 3, gates = 3\]"),
        ({"channels": 8}, r"its array 'history_orders' has the shape \[3, 7\], expected \[steps = 3, channels = 8\]"),
        ({"images": 6}, r"its array 'knowledge' has the shape \[5, 10\], expected \[images = 6, classes = 10\]"),
        ({"classes": 9}, r"its array 'knowledge' has the shape \[5, 10\], expected \[images = 5, classes = 9\]"),
    ):
        with pytest.raises(RunFolderError, match=said):
            load_state(path, searching(**changed))


def test_what_was_measured_may_be_nan_and_what_is_searched_may_not(tmp_path):
    path = tmp_path / "search.npz"
    save_state(state(), path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name in ("accuracy", "knowledge", "history_loss"):
        np.savez(path, **arrays | {name: arrays[name] * np.nan})
        load_state(path)
    for name in ("rates", "orders", "history_rates", "history_orders"):
        np.savez(path, **arrays | {name: arrays[name] * np.nan})
        with pytest.raises(RunFolderError, match=f"its array '{name}' has NaN or infinite numbers"):
            load_state(path)
    for name in ("members", "flops", "params"):
        np.savez(path, **arrays | {name: np.array(0)})
        with pytest.raises(RunFolderError, match=f"its array '{name}' has numbers below 1"):
            load_state(path)
