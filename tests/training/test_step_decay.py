import keras
import numpy as np
import pytest

from tfprune.training import StepDecay


def test_points_are_fractions_or_epochs():
    decay = StepDecay(0.01, (0.3, 0.6, 80), 0.2, epochs=100, steps_per_epoch=390)
    expected = {0: 0.01, 30 * 390 - 1: 0.01, 30 * 390: 0.002, 60 * 390 - 1: 0.002, 60 * 390: 4e-4, 80 * 390: 8e-5}
    for step, rate in {**expected, 10**6: 8e-5}.items():
        assert float(decay(step)) == np.float32(rate)


def test_fractions_are_rounded_down_and_points_may_be_unordered():
    decay = StepDecay(1.0, (5, 0.5), 0.1, epochs=7, steps_per_epoch=1)
    assert [round(float(decay(epoch)), 6) for epoch in range(7)] == [1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert float(StepDecay(1.0, (), 0.1, epochs=7, steps_per_epoch=1)(6)) == 1.0


def test_serialises():
    schedule = StepDecay(0.1, (0.3, 5.0), 0.2, 10, 39)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(copy, StepDecay)
    assert [float(copy(step)) for step in range(0, 390, 39)] == pytest.approx(
        [float(schedule(step)) for step in range(0, 390, 39)]
    )
