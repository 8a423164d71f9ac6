import keras
import numpy as np
import pytest

from tfprune.criteria import FPGM, L1, L2, BNScale
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.layers import FusedBatchNormalization

layers = keras.layers


def dense_chain():
    """Units 0 and 1: made by [1, 3], [-2, 4], read by [3, 4] and [-5, 12]."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(2, activation="relu")(inputs)))
    model.set_weights([np.array([[1, -2], [3, 4]]), np.array([100, 100]), np.array([[3, 4], [-5, 12]]), np.zeros(2)])
    return model, channel_groups(model)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (L1(roles=("out",), normalize="none"), [4, 6]),
        (L1(roles=("in",), normalize="none"), [7, 17]),
        (L1(reduce="sum", normalize="none"), [11, 23]),
        (L1(reduce="mean", normalize="none"), [5.5, 11.5]),
        (L1(reduce="max", normalize="none"), [7, 17]),
        (L1(reduce="sum", normalize="mean"), [11 / 17, 23 / 17]),
        (L1(reduce="sum", normalize="max"), [11 / 23, 1]),
        (L2(roles=("out",), normalize="none"), [10**0.5, 20**0.5]),
        (L2(roles=("in",), normalize="none"), [5, 13]),
        (L2(reduce="max", normalize="none"), [5, 13]),
    ],
)
def test_norms_worked_out_by_hand(criterion, expected):
    np.testing.assert_allclose(criterion.scores(*dense_chain()), expected, rtol=1e-12)


def test_a_channel_read_at_several_positions_has_the_norm_of_all_of_them():
    inputs = keras.Input((2, 1))
    x = layers.Flatten()(layers.Conv1D(2, 1, use_bias=False)(inputs))  # channels 0 1 0 1
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(x))
    model.set_weights([np.ones((1, 1, 2)), np.array([[3.0], [5], [4], [12]])])
    groups = channel_groups(model)
    np.testing.assert_allclose(L1(("in",), normalize="none").scores(model, groups), [7, 17])
    np.testing.assert_allclose(L2(("in",), normalize="none").scores(model, groups), [5, 13])


def test_all_layers_that_make_a_group_count():
    inputs = keras.Input((1,))
    first, second = layers.Dense(2, use_bias=False), layers.Dense(2, use_bias=False)
    x = layers.Add()([first(inputs), second(inputs)])
    model = keras.Model(inputs, layers.Dense(1)(x))
    first.set_weights([np.array([[1.0, 2]])])
    second.set_weights([np.array([[-10.0, 20]])])
    scores = L1(roles=("out",), reduce="sum", normalize="none").scores(model, channel_groups(model))
    np.testing.assert_allclose(scores, [11, 22])


def test_depthwise_kernels_count_where_asked():
    inputs = keras.Input((3, 3, 1))
    x = layers.Conv2D(2, 1, use_bias=False)(inputs)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(1, use_bias=False)(x))
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    model.layers[2].set_weights([np.array([-2.0, 3]).reshape(1, 1, 2, 1)])
    scores = L1(roles=("pass",), normalize="none").scores(model, channel_groups(model))
    np.testing.assert_allclose(scores, [2, 3])


def test_separable_and_grouped_kernels():
    inputs = keras.Input((3, 3, 2))
    x = layers.Conv2D(4, 1, use_bias=False)(inputs)
    x = layers.Conv2D(4, 1, groups=2, use_bias=False, name="grouped")(x)
    x = layers.SeparableConv2D(2, 1, use_bias=False, name="separable")(x)
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    model.layers[1].set_weights([np.arange(8.0).reshape(1, 1, 2, 4)])
    model.get_layer("grouped").set_weights([np.arange(8.0).reshape(1, 1, 2, 4)])
    pointwise = np.arange(8.0).reshape(1, 1, 4, 2)
    model.get_layer("separable").set_weights([np.ones((1, 1, 4, 1)), pointwise])
    groups = channel_groups(model)
    scores = L1(roles=("out",), normalize="none").scores(model, groups)
    # Two groups of 2: channels 0 and 1 stand for positions 0, 2 and 1, 3 of columns [4, 6, 8, 10].
    by_group = {group.name: scores[group.channels].tolist() for group in groups}
    assert by_group == {model.layers[1].name: [12, 16], "grouped": [12, 16], "separable": [12, 16]}


def test_groups_of_zeros_stay_finite():
    model, groups = dense_chain()
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    for how in ("mean", "max", "none"):
        np.testing.assert_array_equal(L2(normalize=how).scores(model, groups), [0, 0])


def test_a_model_without_prunable_channels_has_no_scores():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    assert L2().scores(model, channel_groups(model)).shape == (0,)


def test_shares_of_the_groups_mean_do_not_depend_on_the_groups_scale():
    model, groups = dense_chain()
    before = L2(roles=("out",)).scores(model, groups)
    assert np.isclose(before.mean(), 1)
    model.layers[1].kernel.assign(model.layers[1].kernel * 64)
    np.testing.assert_allclose(L2(roles=("out",)).scores(model, groups), before, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"roles": "out"}, "roles: expected a tuple"),
        ({"roles": ()}, "roles"),
        ({"roles": ("made",)}, "made"),
        ({"reduce": "median"}, "reduce: expected sum, mean or max, received 'median'"),
        ({"normalize": "sum"}, "normalize: expected mean, max, standard or none"),
    ],
)
def test_settings_without_sense_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        L1(**settings)


def test_roles_that_no_channel_has_are_refused():
    with pytest.raises(ConfigError, match=r"no kernel with roles=.* has prunable channels"):
        L2(roles=("pass",)).scores(*dense_chain())


def test_weights_that_are_no_numbers_are_refused():
    model, groups = dense_chain()
    model.layers[1].kernel.assign(np.full((2, 2), np.nan))
    with pytest.raises(ConfigError, match="finite"):
        L1().scores(model, groups)


@pytest.mark.parametrize("norm", [layers.BatchNormalization, FusedBatchNormalization])
def test_scales_of_two_batch_norms_and_of_none(norm):
    inputs = keras.Input((4,))
    one, two = norm(), norm()
    x = layers.Add()([one(layers.Dense(3)(inputs)), two(layers.Dense(3)(inputs))])
    x = layers.Dense(2, name="plain")(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    one.gamma.assign([1, -2, 0])
    two.gamma.assign([-4, 5, 0.5])
    groups = channel_groups(model)
    np.testing.assert_array_equal(BNScale().scores(model, groups), [2.5, 3.5, 0.25, np.nan, np.nan])
    np.testing.assert_array_equal(BNScale(reduce="sum").scores(model, groups), [5, 7, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(BNScale(reduce="max").scores(model, groups), [4, 5, 0.5, np.nan, np.nan])
    shares = BNScale(reduce="max", normalize="max").scores(model, groups)
    np.testing.assert_array_equal(shares, [0.8, 1, 0.1, np.nan, np.nan])


def test_a_channel_at_several_positions_has_the_mean_of_its_scales():
    inputs = keras.Input((2, 1))
    x = layers.Flatten()(layers.Conv1D(2, 1)(inputs))
    norm = layers.BatchNormalization()
    model = keras.Model(inputs, layers.Dense(1)(norm(x)))
    norm.gamma.assign([1, 2, -3, 4])
    np.testing.assert_array_equal(BNScale().scores(model, channel_groups(model)), [2, 3])


@pytest.mark.parametrize("norm", [layers.LayerNormalization(), layers.BatchNormalization(scale=False)])
def test_without_any_scale_it_is_refused(norm):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(norm(layers.Dense(3)(inputs))))
    with pytest.raises(ConfigError, match="no prunable channel has a batch norm"):
        BNScale().scores(model, channel_groups(model))


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


def test_a_channel_made_several_times_has_the_mean_of_its_filters():
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
