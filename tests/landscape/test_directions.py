import keras
import numpy as np
import pytest

from tests.models import dense_chain
from tfprune.errors import ConfigError
from tfprune.graph import convert
from tfprune.landscape.directions import FilterDirections

layers = keras.layers
SEED = 4


def by_path(model):
    """A direction for each trainable weight of a model, and the weight."""
    parts = FilterDirections(model, model.trainable_variables, SEED).draw()
    return {
        variable.path: (part, np.asarray(variable, np.float64))
        for variable, part in zip(model.trainable_variables, parts, strict=True)
    }


# How to cut a kernel of each kind of layer into its filters: `filters[i]` is one.
FILTERS = {
    "dense": (layers.Dense(5), (7,), lambda kernel: kernel.T),
    "conv1d": (layers.Conv1D(5, 3), (8, 2), lambda kernel: np.moveaxis(kernel, 2, 0)),
    "conv2d": (layers.Conv2D(5, 3), (8, 8, 2), lambda kernel: np.moveaxis(kernel, 3, 0)),
    "grouped": (layers.Conv2D(6, 3, groups=2), (8, 8, 4), lambda kernel: np.moveaxis(kernel, 3, 0)),
    "conv3d": (layers.Conv3D(5, 2), (4, 4, 4, 2), lambda kernel: np.moveaxis(kernel, 4, 0)),
    "transposed": (layers.Conv2DTranspose(5, 3), (8, 8, 2), lambda kernel: np.moveaxis(kernel, 2, 0)),
    "depthwise": (
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        (8, 8, 4),
        lambda kernel: kernel.reshape(9, -1).T,
    ),
    "attention": (
        layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3)),
        (4, 6),
        lambda kernel: kernel.reshape(6, 6).T,
    ),
    "projection": (
        layers.EinsumDense("abde,dec->abc", output_shape=(None, 7)),
        (4, 2, 3),
        lambda kernel: kernel.reshape(6, 7).T,
    ),
}


@pytest.mark.parametrize("kind", FILTERS)
def test_each_filter_has_the_norm_of_the_filter_of_the_weights(kind):
    layer, shape, filters = FILTERS[kind]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, type(layer).from_config(layer.get_config() | {"name": "layer"})(inputs))
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(0).standard_normal(variable.shape))
    for path, (part, weights) in by_path(model).items():
        if path.endswith("bias"):
            np.testing.assert_array_equal(part, 0)
            continue
        moved, own = filters(part), filters(weights)
        assert len({round(float(np.linalg.norm(each)), 6) for each in own}) == len(own) > 1
        for one, other in zip(moved, own, strict=True):
            assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other))
        cosine = np.vdot(part, weights) / np.vdot(weights, weights)
        assert abs(cosine) < 0.5  # a direction of its own, not the weights


def test_both_kernels_of_a_separable_convolution_and_the_kernels_of_a_recurrent_layer():
    inputs = keras.Input((6, 6, 3))
    x = layers.SeparableConv2D(4, 3, depth_multiplier=2, name="separable")(inputs)
    x = layers.LSTM(5, name="recurrent")(layers.Reshape((16, 4))(x))
    parts = by_path(keras.Model(inputs, x))
    part, weights = parts["separable/depthwise_kernel"]
    np.testing.assert_allclose((part**2).sum((0, 1)), (weights**2).sum((0, 1)))
    part, weights = parts["separable/pointwise_kernel"]
    np.testing.assert_allclose((part**2).sum((0, 1, 2)), (weights**2).sum((0, 1, 2)))
    for name in ("kernel", "recurrent_kernel"):
        part, weights = parts[f"recurrent/lstm_cell/{name}"]
        np.testing.assert_allclose((part**2).sum(0), (weights**2).sum(0))


def test_embeddings_move_and_normalizations_do_not():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.LayerNormalization(name="norm")(layers.Embedding(9, 4, name="tokens")(inputs))
    x = layers.BatchNormalization(name="batch_norm")(x)
    x = layers.PReLU(name="slopes", alpha_initializer="ones")(x)
    parts = by_path(keras.Model(inputs, layers.Dense(3, name="fc")(x)))
    part, weights = parts.pop("tokens/embeddings")
    np.testing.assert_allclose((part**2).sum(0), (weights**2).sum(0))
    assert parts.pop("fc/kernel")[0].any()
    assert len(parts) == 6
    assert not any(part.any() for part, _ in parts.values())


def test_filters_without_weights_stay_so():
    model = dense_chain(4, (3,), names=("fc",))
    kernel = np.random.default_rng(0).standard_normal((4, 3))
    kernel[:, 1] = 0
    model.get_layer("fc").kernel.assign(kernel)
    part, _ = by_path(model)["fc/kernel"]
    assert [bool(column.any()) for column in part.T] == [True, False, True]
    assert np.isfinite(part).all()


def test_masked_weights_are_not_moved_and_do_not_count():
    mask = np.random.default_rng(0).random((6, 3)) < 0.5
    mask[:, 2] = False
    model = convert(dense_chain(6, (3,), names=("fc",)), "masked", {"fc/kernel": mask})
    model.get_layer("fc").kernel.assign(np.random.default_rng(1).standard_normal((6, 3)))
    part, weights = by_path(model)["fc/kernel"]
    assert not part[~mask].any()
    np.testing.assert_allclose((part**2).sum(0), ((weights * mask) ** 2).sum(0))
    assert not part[:, 2].any()


def test_a_model_without_kernels_has_no_directions():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.BatchNormalization()(inputs), name="net")
    with pytest.raises(ConfigError, match="expected trainable kernels in net, found none"):
        FilterDirections(model, model.trainable_variables, 0)
