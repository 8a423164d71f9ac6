import keras
import numpy as np
import pytest

from tfprune.criteria import get
from tfprune.criteria.dpp_node import DPPNode
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.pruning import plan_channels


def _model():
    layers = [keras.Input((6, 6, 2)), keras.layers.Conv2D(8, 3), keras.layers.ReLU(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])


def test_units_that_are_alike_rarely_stay_together():
    model = _model()
    kernel = np.asarray(model.layers[0].kernel).copy()
    kernel[..., 1] = kernel[..., 0]
    model.layers[0].kernel.assign(kernel)
    groups = channel_groups(model)
    both = [np.all(DPPNode(0.25, seed).scores(model, groups)[:2] > 1) for seed in range(40)]
    assert sum(both) <= 2  # 40 / 28 each for any other pair, but these two are the same


@pytest.mark.parametrize("scope", ["local", "global"])
def test_half_of_each_group_stays(scope):
    plan = plan_channels(_model(), DPPNode(0.5), density=0.5, scope=scope)
    assert [len(group.keep) for group in plan.groups] == [4, 3]
    assert plan.apply().count_params() < _model().count_params()


def test_by_name_and_seed():
    model = _model()
    groups = channel_groups(model)
    first = get("dpp_node").scores(model, groups)
    np.testing.assert_array_equal(first, DPPNode().scores(model, groups))
    assert not np.array_equal(first, DPPNode(seed=1).scores(model, groups))
    with pytest.raises(ConfigError, match="density"):
        DPPNode(density=0)
