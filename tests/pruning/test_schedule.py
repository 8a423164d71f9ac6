import pytest

from tfprune.errors import ConfigError
from tfprune.pruning.schedule import SCHEDULES, fractions


def test_schedules_by_hand():
    assert fractions(0.2, 4, "linear") == pytest.approx((0.8, 0.6, 0.4, 0.2))
    assert fractions(1 / 16, 4, "exponential") == pytest.approx((1 / 2, 1 / 4, 1 / 8, 1 / 16))
    # 0.5 + 0.5 * (1 - t) ** 3 at t = 1/4, 1/2, 3/4, 1
    assert fractions(0.5, 4, "cubic") == pytest.approx((0.5 + 13.5 / 64, 0.5625, 0.5 + 0.5 / 64, 0.5))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_step_is_exactly_the_target(schedule):
    assert fractions(0.3, 1, schedule) == (0.3,)
    assert fractions(0.3, 7, schedule)[-1] == 0.3
    assert list(fractions(0.3, 7, schedule)) == sorted(fractions(0.3, 7, schedule), reverse=True)


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="schedule: expected one of linear, exponential, cubic, received 'fast'"):
        fractions(0.5, 2, "fast")
    for steps in (0, 1.5, True):
        with pytest.raises(ConfigError, match="steps: expected a whole number of at least 1"):
            fractions(0.5, steps, "linear")
