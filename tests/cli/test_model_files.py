import keras
import numpy as np
import pytest

from tfprune.cli.model_files import file_size


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (23_659, "23.7 kB"), (1_234_567, "1.2 MB")]
)
def test_size_of_files(tmp_path, size, shown):
    (tmp_path / "file").write_bytes(bytes(size))
    assert file_size(tmp_path / "file") == shown


def test_size_of_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(bytes(700))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(800))
    assert file_size(tmp_path / "a") == "1.5 kB"


def test_size_without_the_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(100)])
    model.save(tmp_path / "plain.keras")
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 300)), np.zeros((2, 100)), verbose=0)
    model.save(tmp_path / "trained.keras")
    moments = 2 * 4 * 301 * 100
    whole = (tmp_path / "trained.keras").stat().st_size
    shown = float(file_size(tmp_path / "trained.keras").removesuffix(" kB"))
    assert shown == pytest.approx((whole - moments) / 1000, abs=0.2)
    assert file_size(tmp_path / "plain.keras") == f"{(tmp_path / 'plain.keras').stat().st_size / 1000:.1f} kB"
