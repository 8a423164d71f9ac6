import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.criteria import CriterionData, DPPEdge
from tfprune.criteria.weights.dpp import EdgeKernels, equal_shares
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights

layers = keras.layers


@pytest.fixture(autouse=True)
def untraced():
    """Each test draws few subsets of many shapes, which take longer to trace than to draw."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def student(golden_dpp):
    """The golden student as a Keras model, and its examples."""
    model = keras.Sequential([keras.Input((50,)), layers.Dense(6, "tanh", name="hidden"), layers.Dense(1, name="out")])
    model.get_layer("hidden").kernel.assign(golden_dpp["student/w1_normalised"].T)
    inputs = golden_dpp["data/inputs"].T
    return model, [(inputs, np.zeros(len(inputs)))]


@pytest.fixture(scope="module")
def network():
    """A convolution, a depthwise one and a dense layer, and examples whose first channel is a copy of the second."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.ReLU()(x))
    x = layers.Dense(5, name="fc")(layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).normal(size=(40, 6, 6, 3)).astype(np.float32)
    images[..., 0] = images[..., 1]
    return keras.Model(inputs, x), (images, np.zeros(40))


def test_kernels_are_those_of_the_paper(student, golden_dpp):
    model, data = student
    weights = prunable_weights(model, ignore="out")
    kernels = EdgeKernels(model, weights, CriterionData(data)).kernels("hidden/kernel", 0, np.arange(6))
    np.testing.assert_allclose(kernels, golden_dpp["kernel/edge_f64"], rtol=1e-10, atol=1e-10)


def test_draws_follow_the_law_of_the_paper(student, golden_dpp):
    model, data = student
    tf.config.run_functions_eagerly(False)  # many draws of one shape
    masks = [DPPEdge(seed=seed, ignore="out")(model, 0.5, data)["hidden/kernel"] for seed in range(20)]
    assert all((mask.sum(axis=0) == 25).all() for mask in masks)
    frequency = np.mean(masks, axis=0).T
    law = np.stack([golden_dpp[f"kdpp/edge_node{node}_k25/inclusion"] for node in range(6)])
    deviations = (frequency - law) / np.sqrt(np.maximum(law * (1 - law), 1e-2) / 20)
    assert np.mean(deviations**2) < 1.3


@pytest.mark.parametrize("scope", ["global", "local"])
def test_exact_counts_equal_for_all_channels(network, scope):
    model, data = network
    masks = DPPEdge(scope=scope, seed=3)(model, 0.34, data)
    sizes = {name: int(np.prod(weight.shape)) for name, weight in prunable_weights(model).items()}
    total = sum(sizes.values())
    if scope == "global":
        assert masks.kept == total - int(0.66 * total)
    else:
        assert masks.counts == {name: (size - int(0.66 * size), size) for name, size in sizes.items()}
    for name, axes in {"conv/kernel": (0, 1, 2), "depthwise/kernel": (0, 1, 3), "fc/kernel": (0,)}.items():
        counts = masks[name].sum(axis=axes)
        assert counts.max() - counts.min() <= 1


def test_einsums_read_all_that_they_sum_over():
    inputs = keras.Input((4, 3, 2))
    model = keras.Model(inputs, layers.EinsumDense("abcd,cde->abe", (4, 5), name="joined")(inputs))
    x = np.random.default_rng(0).normal(size=(30, 4, 3, 2)).astype(np.float32)
    masks = DPPEdge()(model, 0.5, (x, np.zeros(30)))
    assert (masks["joined/kernel"].sum(axis=(0, 1)) == 3).all()
    scores = DPPEdge().weight_scores(model, data=(x, np.zeros(30)))["joined/kernel"]
    squares = np.square(x.astype(float)).mean(axis=(0, 1))[..., None]
    np.testing.assert_allclose(scores, np.square(np.asarray(model.get_layer("joined").kernel)) * squares, rtol=1e-5)


def test_seeds_and_earlier_masks(network):
    model, data = network
    masks = DPPEdge(seed=3)(model, 0.34, data)
    assert DPPEdge(seed=3)(model, 0.34, data) == masks
    assert DPPEdge(seed=4)(model, 0.34, data) != masks
    fewer = DPPEdge()(model, 0.1, data, masks=masks)
    assert fewer & masks == fewer
    assert fewer.kept < masks.kept


def test_edges_that_carry_the_same_do_not_stay_together(network):
    """The first two channels are alike: of their two weights at a window position one at most is drawn."""
    model, data = network
    masks = [DPPEdge(seed=seed, ignore=("dep*", "fc"))(model, 0.5, data)["conv/kernel"] for seed in range(3)]
    both = np.mean([mask[:, :, 0] & mask[:, :, 1] for mask in masks])
    assert both == 0
    assert np.mean([mask[:, :, 0] & mask[:, :, 2] for mask in masks]) > 0.1


def test_more_than_the_rank():
    """Two of five inputs are ever active: both stay, and others by chance."""
    model = keras.Sequential([keras.Input((5,)), layers.Dense(40, name="fc", kernel_initializer="ones")])
    x = np.zeros((8, 5), np.float32)
    x[:, 1], x[:, 3] = np.arange(8), np.arange(8) % 2
    mask = DPPEdge()(model, 0.6, (x, np.zeros(8)))["fc/kernel"]
    assert (mask.sum(axis=0) == 3).all()
    assert mask[[1, 3]].all()
    assert mask[[0, 2, 4]].any(axis=1).all()


def test_scores_are_what_edges_carry(student):
    model, data = student
    scores = DPPEdge().weight_scores(model, ["hidden/kernel"], data)["hidden/kernel"]
    kernel, inputs = np.asarray(model.get_layer("hidden").kernel, float), data[0][0]
    np.testing.assert_allclose(scores, kernel**2 * np.mean(inputs.astype(float) ** 2, axis=0)[:, None], rtol=1e-9)


def test_shares():
    np.testing.assert_array_equal(equal_shares(np.full(3, 10), np.full(3, 10), 16), [6, 5, 5])
    np.testing.assert_array_equal(equal_shares(np.array([10, 10, 30]), np.array([10, 1, 30]), 21), [5, 1, 15])
    np.testing.assert_array_equal(equal_shares(np.full(3, 4), np.array([0, 4, 4]), 8), [0, 4, 4])


def test_mistakes(network):
    model, data = network
    with pytest.raises(ConfigError, match="looks at data"):
        DPPEdge()(model, 0.5)
    for setting in ({"iterations": 2}, {"original_ties": True}, {"revive": True}):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))}: dpp_edge decides at once"):
            DPPEdge(**setting)
    other = keras.Sequential([keras.Input((6, 6, 3)), layers.SeparableConv2D(2, 3, name="sep")])
    with pytest.raises(ConfigError, match=r"received sep/depthwise_kernel of a SeparableConv2D; ignore it"):
        DPPEdge()(other, 0.5, data)
