import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.exporting import save_model


def test_carries_the_compilation(tmp_path, residual):
    residual.compile(loss="mse", optimizer=keras.optimizers.SGD(0.25))
    save_model(residual, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == 0.25
    np.testing.assert_array_equal(loaded.get_layer("fc").kernel, residual.get_layer("fc").kernel)


def test_other_suffixes_are_refused(tmp_path, residual):
    with pytest.raises(ConfigError, match=r"ends in \.keras"):
        save_model(residual, tmp_path / "model.h5")
    assert not any(tmp_path.iterdir())
