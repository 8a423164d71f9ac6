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


def test_with_data_units_whose_outputs_are_alike_rarely_stay_together():
    model = _model()
    kernel = np.zeros((3, 3, 2, 8), np.float32)
    kernel[..., 2:] = np.random.default_rng(0).normal(size=(3, 3, 2, 6))
    kernel[1, 1, 0, 0] = kernel[1, 1, 1, 1] = 1  # as unlike as filters can be, but the inputs are the same
    model.layers[0].kernel.assign(kernel)
    groups = channel_groups(model)
    images = np.repeat(np.random.default_rng(1).normal(size=(30, 6, 6, 1)), 2, axis=-1).astype(np.float32)

    def together(data):
        return sum(np.all(DPPNode(0.25, seed).scores(model, groups, data)[:2] > 1) for seed in range(60))

    assert together((images, None)) <= 1 < 2 <= together(None)


def test_scores_are_the_same_whatever_the_batches_and_their_order():
    model = _model()
    groups = channel_groups(model)
    images = np.random.default_rng(1).normal(size=(30, 6, 6, 2)).astype(np.float32)
    scores = DPPNode().scores(model, groups, (images, None))
    np.testing.assert_array_equal(scores, DPPNode().scores(model, groups, [(images[20:], None), (images[:20], None)]))
    np.testing.assert_array_equal(scores, DPPNode().scores(model, groups, (images, np.zeros(30))))


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
