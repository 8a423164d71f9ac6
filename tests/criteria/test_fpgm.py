import keras
import numpy as np
import pytest

from tfprune.criteria import FPGM
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups

layers = keras.layers


def conv_model(*kernels):
    """Convolutions of one group, by their filters in rows."""
    inputs = keras.Input((2, len(kernels[0][0])))
    convs = [layers.Conv1D(len(kernel), 1, use_bias=False) for kernel in kernels]
    made = [conv(inputs) for conv in convs]
    x = layers.Add()(made) if len(made) > 1 else made[0]
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    for conv, kernel in zip(convs, kernels, strict=True):
        conv.kernel.assign(np.array(kernel, float).T[None])
    return model, channel_groups(model)


def test_summed_distances_worked_out_by_hand():
    # Distances 5 (first, second), 5 (first, third), 6 (second, third): sums 10, 11, 11.
    model = conv_model([(0, 0), (3, 4), (-3, 4)])
    np.testing.assert_allclose(FPGM().scores(*model), np.array([10, 11, 11]) / (32 / 3), rtol=1e-7)
    np.testing.assert_allclose(FPGM(normalize="max").scores(*model), np.array([10, 11, 11]) / 11, rtol=1e-7)


def test_distances_do_not_depend_on_where_the_filters_lie():
    near = FPGM().scores(*conv_model([(0, 0), (3, 4), (-3, 4)]))
    far = FPGM().scores(*conv_model([(1000, 0), (1003, 4), (997, 4)]))
    np.testing.assert_allclose(near, far, rtol=1e-6)


def test_layers_that_make_a_group_count_alike_whatever_their_scale():
    # Sums 10, 11, 11 with mean 32/3, and 300, 200, 300 (at 0, 100, 200: 300, 200, 300) with mean 800/3.
    model = conv_model([(0, 0), (3, 4), (-3, 4)], [(0, 0), (100, 0), (200, 0)])
    expected = (np.array([10, 11, 11]) * 3 / 32 + np.array([300, 200, 300]) * 3 / 800) / 2
    np.testing.assert_allclose(FPGM(normalize="none").scores(*model), expected, rtol=1e-6)


def test_equal_filters_have_no_distance():
    np.testing.assert_array_equal(FPGM().scores(*conv_model([(1, 2)] * 4)), np.zeros(4))


def test_a_unit_made_several_times_has_the_mean_of_its_filters():
    inputs = keras.Input((2, 2))
    x = layers.Conv1D(4, 1, use_bias=False)(inputs)
    conv = layers.Conv1D(4, 1, groups=2, use_bias=False, name="grouped")
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(conv(x))))
    conv.kernel.assign(np.array([[[0.0, 3, 15, 30], [0, 4, 20, 40]]]))  # 5 times 0, 1, 5, 10: sums 16, 14, 14, 24
    groups = channel_groups(model)
    (group,) = (group for group in groups if group.name == "grouped")
    scores = FPGM(normalize="none").scores(model, groups)[group.channels]
    np.testing.assert_allclose(scores, np.array([15, 19]) / 17, rtol=1e-6)


def test_normalisation_is_checked():
    with pytest.raises(ConfigError, match="normalize"):
        FPGM(normalize="median")
