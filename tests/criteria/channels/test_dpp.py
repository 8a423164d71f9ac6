import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.criteria import CriterionData, get
from tfprune.criteria.channels.dpp import DPPNode, activation_kernels, filter_kernels
from tfprune.errors import ConfigError
from tfprune.graph import channel_groups
from tfprune.pruning import plan_channels

layers = keras.layers
KINDS = [
    (layers.Dense, [5], {}, (3, 2)),
    (layers.EinsumDense, ["abd,dc->abc", (3, 5)], {}, (3, 2)),
    (layers.Conv1D, [5, 3], {"padding": "causal", "dilation_rate": 2}, (9, 2)),
    (layers.Conv2D, [6, 3, 2], {"groups": 2}, (6, 6, 2)),
    (layers.Conv3D, [5, 2], {}, (3, 4, 3, 2)),
    (layers.Conv1DTranspose, [5, 3, 2], {}, (5, 2)),
    (layers.Conv2DTranspose, [5, 3, 2], {"padding": "same"}, (5, 4, 2)),
    (layers.SeparableConv2D, [5, 3], {"depth_multiplier": 2}, (6, 6, 2)),
    (layers.DepthwiseConv2D, [3], {"depth_multiplier": 2}, (6, 6, 2)),
    (layers.Conv2D, [8, 3], {"groups": 4}, (6, 6, 2)),  # depthwise as well
]
IMAGES = np.random.default_rng(1).normal(size=(90, 6, 6, 2)).astype(np.float32)


def _model():
    layers = [keras.Input((6, 6, 2)), keras.layers.Conv2D(8, 3), keras.layers.ReLU(), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])


def test_channels_that_are_alike_rarely_stay_together():
    model = _model()
    kernel = np.asarray(model.layers[0].kernel).copy()
    kernel[..., 1] = kernel[..., 0]
    model.layers[0].kernel.assign(kernel)
    groups = channel_groups(model)
    both = [np.all(DPPNode(0.25, seed).scores(model, groups)[:2] > 1) for seed in range(40)]
    assert sum(both) <= 2  # 40 / 28 each for any other pair, but these two are the same


def test_with_data_channels_whose_outputs_are_alike_rarely_stay_together():
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


def measured(model, x, **settings):
    data = CriterionData(x if isinstance(x, list) else (x, None))
    return activation_kernels(model, channel_groups(model), data, **settings)


def by_name(model, kernels):
    return {group.name: kernel for group, kernel in zip(channel_groups(model), kernels, strict=True)}


def gram(values):
    """Mean products of the positions of the last axis, in float64."""
    rows = np.asarray(values, np.float64).reshape(-1, values.shape[-1])
    return rows.T @ rows / len(rows)


def unit_diagonal(kernel):
    lengths = np.sqrt(np.diagonal(kernel))
    return kernel / np.outer(lengths, lengths)


def test_the_kernel_of_the_golden_student(golden_dpp):
    hidden = layers.Dense(6, activation="tanh", bias_initializer="ones", name="hidden")
    model = keras.Sequential([keras.Input((50,)), hidden, layers.Dense(1)])
    hidden.kernel.assign(golden_dpp["student/w1"].T)  # the original prunes rows of equal length, this kernel's are not
    (kernel,) = measured(model, golden_dpp["data/inputs"].T)
    np.testing.assert_allclose(unit_diagonal(kernel), unit_diagonal(golden_dpp["kernel/node_f64"]), atol=2e-6)


def windows(x, size, stride, padding):
    """What stands in each window, `[examples, rows, columns, size, size, channels]`, the plain way."""
    if padding == "same":
        total = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((each // 2, each - each // 2) for each in total), (0, 0)])
    counts = [(n - size) // stride + 1 for n in x.shape[1:3]]
    at = [
        [x[:, i * stride : i * stride + size, j * stride : j * stride + size] for j in range(counts[1])]
        for i in range(counts[0])
    ]
    return np.moveaxis(np.array(at), 2, 0)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 3), st.integers(1, 2), st.sampled_from(["same", "valid"]), st.integers(0, 99))
def test_random_convolutions_are_as_numpy_has_them(size, stride, padding, seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((7, 6, 2))
    first = layers.Conv2D(3, 2, activation="tanh", bias_initializer="random_normal")(inputs)
    second = layers.Conv2D(5, size, stride, padding, activation="relu", bias_initializer="ones", name="second")(first)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.BatchNormalization()(second))))
    x = np.random.default_rng(seed).normal(1, 1, (70, 7, 6, 2)).astype(np.float32)
    read = np.asarray(keras.Model(inputs, first)(x), np.float64)
    made = np.einsum("nrcijk,ijkf->nrcf", windows(read, size, stride, padding), model.get_layer("second").kernel)
    found = by_name(model, measured(model, x))
    np.testing.assert_allclose(found["second"], gram(made), rtol=1e-5, atol=1e-6)


def made_by(kind, arguments, shape, **settings):
    """A model in which a layer of this kind stands between two dense ones."""
    inputs = keras.Input(shape)
    x = layers.Dense(4, use_bias=False, name="first")(inputs)
    x = kind(*arguments, **settings, name="it")(x)
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x)))


def without_copies(values, vector):
    """Products of channels that stand at several positions of the last axis, each with the same one of the others."""
    units = np.unique(vector)
    firsts = [[np.flatnonzero(vector == unit)[copy] for unit in units] for copy in range(len(vector) // len(units))]
    return sum(gram(values[..., at]) for at in firsts)


@pytest.mark.parametrize(("kind", "arguments", "options", "shape"), KINDS)
def test_every_kind_of_kernel_counts_without_bias_and_activation(kind, arguments, options, shape):
    einsum = kind is layers.EinsumDense
    plain = made_by(kind, arguments, shape, **options, **({} if einsum else {"use_bias": False}))
    more = {"activation": "relu", "bias_initializer": "ones"} | ({"bias_axes": "c"} if einsum else {})
    other = made_by(kind, arguments, shape, **options, **more)
    for layer in plain.layers[1:]:
        for variable in layer.weights:
            getattr(other.get_layer(layer.name), variable.name).assign(variable)
    x = np.random.default_rng(0).normal(size=(70, *shape)).astype(np.float32)
    first, made = keras.Model(plain.inputs[0], [plain.get_layer(name).output for name in ("first", "it")])(x)
    expected = without_copies(np.asarray(made), channel_groups(plain).axes(plain.get_layer("it").output)[-1])
    if len(channel_groups(plain)) == 1:  # they pass on what the first layer makes
        expected += gram(np.asarray(first))
    for model in (plain, other):
        np.testing.assert_allclose(measured(model, x)[-1], expected, rtol=1e-5, atol=1e-5)


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", name="stem")(inputs)
    y = layers.Conv2D(5, 3, padding="same", activation="relu", name="branch")(x)
    x = layers.Flatten()(layers.DepthwiseConv2D(3, name="depthwise")(layers.Add()([x, y])))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "relu", name="fc")(x)))


def test_the_layers_that_make_a_channel_are_summed():
    model = network()
    stem = np.asarray(model.get_layer("stem")(IMAGES))
    branch = np.asarray(keras.ops.conv(stem, model.get_layer("branch").kernel, padding="same"))
    through = keras.Model(model.inputs[0], model.get_layer("depthwise").output)(IMAGES)
    expected = gram(stem) + gram(branch) + gram(np.asarray(through))
    np.testing.assert_allclose(by_name(model, measured(model, IMAGES))["stem"], expected, rtol=1e-5, atol=1e-6)


def test_order_and_batches_do_not_matter():
    model = network()
    whole = measured(model, IMAGES)
    shuffled = IMAGES[np.random.default_rng(0).permutation(90)]
    uneven = [(part, None) for part in np.split(shuffled, [1, 40, 77])]
    for other in (measured(model, shuffled), measured(model, uneven)):
        for mine, same in zip(other, whole, strict=True):
            np.testing.assert_allclose(mine, same, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(measured(model, IMAGES, batches=1)[0], measured(model, IMAGES[:64])[0])


def test_calls_of_a_shared_layer_count_together():
    first, second = keras.Input((3,)), keras.Input((3,))
    shared = layers.Dense(4, use_bias=False)
    model = keras.Model([first, second], layers.Dense(2)(layers.Concatenate()([shared(first), shared(second)])))
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype(np.float32)
    (kernel,) = measured(model, [([x[0], x[1]], None)])
    np.testing.assert_allclose(kernel, gram(np.asarray(shared(x.reshape(40, 3)))), rtol=1e-5, atol=1e-6)


def test_an_embedding_has_the_frequencies_of_its_words():
    inputs = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(3, 4)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(embedding(inputs))))
    words = np.array([[0, 0, 0, 1, 1, 2]])
    (kernel,) = measured(model, words)
    table = np.asarray(embedding.embeddings)
    np.testing.assert_allclose(kernel, table.T @ np.diag([3 / 6, 2 / 6, 1 / 6]) @ table, rtol=1e-5)


def test_layers_whose_outputs_are_something_else_are_refused_unless_ignored():
    inputs = keras.Input((5, 3))
    fc = layers.Dense(4, use_bias=False)
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(3, name="lstm")(layers.Dense(3)(fc(inputs)))))
    x = np.random.default_rng(0).normal(size=(9, 5, 3)).astype(np.float32)
    with pytest.raises(ConfigError, match=r"received lstm \(LSTM\).*; ignore it, or leave out the data"):
        measured(model, x)
    (kernel,) = activation_kernels(model, channel_groups(model, ["lstm"]), CriterionData((x, None)))
    np.testing.assert_allclose(kernel, gram(np.asarray(fc(x))), rtol=1e-5, atol=1e-6)


def test_data_that_is_not_finite_is_refused():
    images = IMAGES.copy()
    images[70, 0, 0, 0] = np.nan
    with pytest.raises(
        ConfigError, match=r"the input .*: expected finite .*, received 1 of .* at \[70, 0, 0, 0\]: nan"
    ):
        measured(network(), images)
    with pytest.raises(ConfigError, match="data: expected finite values in layer stem"):
        measured(network(), np.full_like(IMAGES, 3e38))


def test_filters_of_groups_that_read_other_channels_are_not_compared():
    model = made_by(layers.Conv2D, [4, 1], (2, 2, 2), groups=2)
    conv = model.get_layer("it")
    kernel = np.zeros((1, 1, 2, 4), np.float32)
    kernel[0, 0] = [[1, 0, 2, 1], [0, 1, 0, 1]]  # filters 0 and 1 read channels 0 and 1, filters 2 and 3 the others
    conv.kernel.assign(kernel)
    np.testing.assert_allclose(by_name(model, filter_kernels(channel_groups(model)))["it"], [[5, 2], [2, 3]])
