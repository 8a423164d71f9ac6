import keras
import pytest

from tfprune.errors import ConfigError
from tfprune.optimizers.sign_trained import sign_trained_variables


@pytest.fixture
def variables():
    names = ["stem/kernel", "stem/bias", "block/kernel", "fc/kernel"]
    return [type("Named", (), {"path": name})() for name in names]


def test_marks(variables):
    variables[0].masked = True
    variables[2].masked = True
    variables[3].masked = False
    assert sign_trained_variables(variables, None) == [True, False, True, False]


def test_patterns(variables):
    assert sign_trained_variables(variables, ["*/kernel"]) == [True, False, True, True]
    assert sign_trained_variables(variables, ["stem/*", "block/kernel"]) == [True, True, True, False]


def test_patterns_outdo_marks(variables):
    variables[0].masked = True
    assert sign_trained_variables(variables, ["fc/*"]) == [False, False, False, True]


def test_the_mark_of_a_keras_variable_counts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.layers[0].kernel.masked = True
    assert sign_trained_variables(model.trainable_variables, None) == [True, False]


def test_nothing_is_marked(variables):
    with pytest.raises(
        ConfigError, match=r"sign_trained: expected kernels of masked .*4 variables.* received none; convert"
    ):
        sign_trained_variables(variables[::-1], None)


def test_a_pattern_matches_nothing(variables):
    with pytest.raises(ConfigError, match=r"received 'head/\*', which matches none of stem/kernel"):
        sign_trained_variables(variables, ["*/kernel", "head/*"])
