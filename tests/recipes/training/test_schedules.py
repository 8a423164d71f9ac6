import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.training import EpochRates, PeriodicDecay, StepDecay, missed_drops


def test_points_are_fractions_or_epochs():
    decay = StepDecay(0.01, (0.3, 0.6, 80), 0.2, epochs=100, steps_per_epoch=390)
    expected = {0: 0.01, 30 * 390 - 1: 0.01, 30 * 390: 0.002, 60 * 390 - 1: 0.002, 60 * 390: 4e-4, 80 * 390: 8e-5}
    for step, rate in {**expected, 10**6: 8e-5}.items():
        assert float(decay(step)) == np.float32(rate)


def test_fractions_are_rounded_down_and_points_may_be_unordered():
    decay = StepDecay(1.0, (5, 0.5), 0.1, epochs=7, steps_per_epoch=1)
    assert [round(float(decay(epoch)), 6) for epoch in range(7)] == [1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert float(StepDecay(1.0, (), 0.1, epochs=7, steps_per_epoch=1)(6)) == 1.0


@pytest.mark.parametrize(
    ("epochs", "points", "drops"),
    [
        (100, (0.3, 0.6, 0.8), [30, 60, 80]),
        (10, (0.3, 0.6, 0.8), [3, 6, 8]),
        (5, (0.3, 0.6, 0.8), [1, 3, 4]),
        (3, (0.3, 0.6, 0.8), [1, 2, 3]),
        (2, (0.8, 0.3, 0.6), [1, 2, 3]),
        (1, (0.3, 0.6, 0.8), [1, 2, 3]),
        (4, (0.5, 2), [2, 3]),
        (2, (0.1, 0.2, 1), [1, 2, 3]),
    ],
)
def test_drops_are_an_epoch_apart(epochs, points, drops):
    decay = StepDecay(1.0, points, 0.5, epochs, steps_per_epoch=3)
    assert decay.drops == drops
    assert [float(decay(3 * epoch)) for epoch in range(5)] == [
        0.5 ** sum(d <= epoch for d in drops) for epoch in range(5)
    ]
    assert float(decay(2)) == 1.0
    assert missed_drops(decay, epochs) == [drop for drop in drops if drop >= epochs]


def test_a_drop_is_given_once():
    with pytest.raises(ConfigError, match=r"points: expected different epochs, received \[3, 3\]"):
        StepDecay(0.1, (3, 3.5), 0.1, epochs=5, steps_per_epoch=1)


def test_drops_of_policies_that_are_missed():
    assert missed_drops(EpochRates(0.1, "xnor", 50, 1), 50) == [54]
    assert missed_drops(EpochRates(0.1, "multistep", 20, 1, every=20), 20) == [20]
    assert missed_drops(EpochRates(0.1, "multistep", 21, 1, every=20), 21) == []
    assert missed_drops(EpochRates(0.1, "cosine", 2, 1), 2) == []


def test_step_decay_serializes():
    schedule = StepDecay(0.1, (0.3, 5.0), 0.2, 10, 39)
    copy = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(copy, StepDecay)
    assert [float(copy(step)) for step in range(0, 390, 39)] == pytest.approx(
        [float(schedule(step)) for step in range(0, 390, 39)]
    )


@pytest.mark.parametrize(("name", "every", "offset"), [("cifar", 45, 0), ("imagenet", 30, 1)])
def test_schedules_of_the_original(golden_peekaboo, name, every, offset):
    expected = golden_peekaboo[f"e/schedule/{name}_readme_ar"]
    schedule = PeriodicDecay(1e-3, 0.15, every, steps_per_epoch=7, offset=offset)
    compiled = tf.function(schedule)
    for epoch, rate in enumerate(expected):
        for step in (7 * epoch, 7 * epoch + 6):
            assert float(compiled(tf.constant(step))) == pytest.approx(rate, rel=1e-15)
    assert len(set(expected)) > 3


def test_periodic_decay_is_exact():
    schedule = PeriodicDecay(0.1, 0.15, 2, 10)
    assert [float(schedule(step)) for step in (0, 19, 20, 39)] == [0.1, 0.1, 0.1 * 0.15, 0.1 * 0.15]
    assert schedule(0).dtype == tf.float64


def test_periodic_decay_serializes():
    schedule = PeriodicDecay(1e-3, 0.1, 30, 5, offset=1)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.get_config() == schedule.get_config()
    assert copy.get_config()["offset"] == 1


def test_periodic_decay_in_keras_optimizers():
    variable = keras.Variable([1.0])
    optimizer = keras.optimizers.SGD(PeriodicDecay(0.5, 0.5, 1, 1))
    for _ in range(2):
        optimizer.apply([tf.ones(1)], [variable])
    assert float(variable[0]) == pytest.approx(1 - 0.5 - 0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial": 0.0}, "initial: expected a number above 0"),
        ({"ratio": -0.1}, "ratio: expected a number above 0"),
        ({"ratio": float("nan")}, "ratio: expected a number above 0"),
        ({"every_epochs": 0}, "every_epochs: expected a whole number from 1 to"),
        ({"steps_per_epoch": 1.5}, "steps_per_epoch: expected a whole number from 1 to"),
        ({"offset": -1}, "offset: expected a whole number from 0 to"),
        ({"every_epochs": 2, "offset": 2}, "every_epochs: expected more than the 2 by which all decays are earlier"),
    ],
)
def test_wrong_arguments(change, message):
    with pytest.raises(ConfigError, match=message):
        PeriodicDecay(**{"initial": 0.1, "ratio": 0.1, "every_epochs": 1, "steps_per_epoch": 1, **change})
