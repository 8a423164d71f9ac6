import csv

import pytest

pytestmark = pytest.mark.slow


def test_three_kills(tmp_path, monkeypatch):
    """One run of Peek-a-Boo, killed in each of its stages."""
    import soak

    monkeypatch.setattr(soak.tempfile, "tempdir", str(tmp_path))
    assert soak.main(["--cases", "peekaboo", "--runs", "1", "--out", str(tmp_path / "soak.csv")]) == 0
    with (tmp_path / "soak.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["pruning", "training", "report"]
    assert sum(int(row["kills"]) for row in rows) >= 2  # the last process may have been done before its moment came
    assert {row["runs"] for row in rows} == {"1"}


def test_other_weights_are_noticed(tmp_path):
    import keras
    import soak

    one, other = tmp_path / "one.keras", tmp_path / "other.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")])
    model.save(one)
    model.save(other)
    assert soak.same_weights(one, other)
    assert len(soak.arrays(one)) == 2
    kernel = model.layers[0].kernel.numpy()
    kernel[0, 0] = kernel[0, 0] * (1 + 1e-7) + 1e-9
    model.layers[0].kernel.assign(kernel)
    model.save(other)
    assert not soak.same_weights(one, other)
