"""Models of which a sub-network is trained: made from plain ones, and made plain again."""

import keras
import numpy as np
import pytest

import tfprune
from tfprune.errors import ConfigError
from tfprune.exporting.keras import plain_model
from tfprune.graph.subnet import SubnetOptions, bake_subnets, subnet_model
from tfprune.layers import BinaryActivation, GlobalSubnet, subnet_layers
from tfprune.recipes.models import build_model

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def plain_network():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Activation("relu", name="activation")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="fc")(x))
    random = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(
            random.normal(size=variable.shape) ** 2 + 0.1
            if "variance" in variable.path
            else random.normal(size=variable.shape)
        )
    return model


def trained(model):
    return [variable.path for variable in model.trainable_variables]


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("binary", [False, True])
def test_there_and_back(scope, binary, tmp_path):
    plain = plain_network()
    model = subnet_model(plain, SubnetOptions(density=0.4, scope=scope, binary_activations=binary, seed=0))
    assert isinstance(model, GlobalSubnet) == (scope == "global")
    assert [type(layer).__name__ for layer in subnet_layers(model)] == [
        "SubnetConv2D",
        "SubnetDepthwiseConv2D",
        "SubnetDense",
    ]
    for layer in subnet_layers(model):
        np.testing.assert_array_equal(layer.kernel, plain.get_layer(layer.name).kernel)
        np.testing.assert_array_equal(layer.bias, plain.get_layer(layer.name).bias)
    assert trained(model) == ["first/scores", "depthwise/scores", "fc/scores"]
    kinds = [type(model.get_layer(name)) for name in ("relu", "activation")]
    assert kinds == ([BinaryActivation] * 2 if binary else [keras.layers.ReLU, keras.layers.Activation])
    model(IMAGES, training=True)
    baked = bake_subnets(model)
    assert not any(type(layer).__name__.startswith(("Subnet", "Binary")) for layer in baked._flatten_layers())
    np.testing.assert_allclose(baked(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)
    assert np.abs(baked(IMAGES) - np.asarray(plain(IMAGES))).max() > 0.1
    baked.save(tmp_path / "plain.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "plain.keras")(IMAGES), baked(IMAGES))


def test_what_is_trained():
    def names(**options):
        return trained(subnet_model(plain_network(), SubnetOptions(**options)))

    scores, biases = ["first/scores", "depthwise/scores", "fc/scores"], ["first/bias", "depthwise/bias", "fc/bias"]
    assert names() == scores
    assert sorted(names(learn_batchnorm=True)) == sorted([*scores, *biases, "norm/gamma", "norm/beta"])
    assert sorted(names(bias_only=True)) == sorted([*scores, *biases, "norm/beta"])
    assert sorted(names(learn_batchnorm=True, tune_batchnorm=True)) == sorted([*biases, "norm/gamma", "norm/beta"])
    assert sorted(names(bias_only=True, tune_batchnorm=True)) == sorted([*biases, "norm/beta"])
    assert sorted(names(ignore="fc")) == sorted(["first/scores", "depthwise/scores", "fc/kernel", "fc/bias"])
    with pytest.raises(ConfigError, match="tune_batchnorm: expected learn_batchnorm or bias_only with it"):
        SubnetOptions(tune_batchnorm=True)
    with pytest.raises(ConfigError, match="density: expected a number above 0 and at most 1, received 0"):
        subnet_model(plain_network(), SubnetOptions(density=0))


FLAGS = {
    "default": {},
    "learn_batchnorm": {"learn_batchnorm": True},
    "learn_and_tune": {"learn_batchnorm": True, "tune_batchnorm": True},
    "bias_only": {"bias_only": True},
    "bias_only_and_tune": {"bias_only": True, "tune_batchnorm": True},
}


@pytest.mark.parametrize("flags", FLAGS)
def test_what_the_original_trains(golden, flags):
    """The golden names are those of the first block with a projection, and of the ends."""
    plain = build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3), classifier_bias=False)
    model = subnet_model(plain, SubnetOptions(**FLAGS[flags]))
    expected = set()
    for name in golden[f"trainable/cResNet20/{flags}"]:
        module, _, kind = str(name).rpartition(".")
        norm = "bn" in module or module.endswith("shortcut.1")
        layer = {"conv1": "conv", "bn1": "bn", "fc": "fc"}.get(module)
        if layer is None:
            last = module.rpartition(".")[2]
            inner = {"shortcut.0": "conv3", "shortcut.1": "bn3"}.get(module[len("layer2.0.") :], last)
            layer = f"block1.0_{inner}"
        expected.add(f"{layer}/{ ({'weight': 'gamma', 'bias': 'beta'}[kind] if norm else kind) }")
    looked_at = ("conv/", "bn/", "fc/", "block1.0_")
    assert {path for path in trained(model) if path.startswith(looked_at)} == expected


def test_frozen_batch_norm_follows_its_batches_all_the_same(tmp_path):
    model = subnet_model(plain_network(), SubnetOptions(seed=0))
    before = np.asarray(model.get_layer("norm").moving_mean).copy()
    model(IMAGES, training=True)
    assert np.abs(before - np.asarray(model.get_layer("norm").moving_mean)).max() > 1e-3
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert trained(loaded) == trained(model)
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


def test_a_compiled_model_stays_compiled_and_trains_in_fit():
    plain = plain_network()
    plain.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    model = subnet_model(plain, SubnetOptions(density=0.4, scope="global", seed=0, binary_activations=True))
    model.optimizer.learning_rate.assign(1.0)
    history = model.fit(IMAGES, np.arange(8) % 4, epochs=15, verbose=0).history
    assert min(history["loss"]) < history["loss"][0]
    sizes = [np.prod(layer.mask.shape) for layer in subnet_layers(model)]
    assert sum(int(np.sum(layer.mask)) for layer in subnet_layers(model)) == sum(sizes) - int(0.6 * sum(sizes))


def test_nested_models_select_together():
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(6, name="b")], name="inner"
    )
    inputs = keras.Input((6,))
    model = subnet_model(
        keras.Model(inputs, keras.layers.Dense(3, name="c")(inner(inputs))), SubnetOptions(density=0.3, scope="global")
    )
    assert sorted(layer.name for layer in subnet_layers(model)) == ["a", "b", "c"]
    model(np.ones((2, 6), np.float32), training=True)
    size = 48 + 48 + 18
    assert sum(int(np.sum(layer.mask)) for layer in subnet_layers(model)) == size - int(0.7 * size)


def test_sampled_sub_networks_cannot_be_baked():
    model = subnet_model(plain_network(), SubnetOptions(selection="sampled"))
    with pytest.raises(ConfigError, match="expected a sub-network with a mask, received a sampled one"):
        bake_subnets(model)


def test_convert(tmp_path):
    model = tfprune.convert(plain_network(), "subnet", density=0.2, scope="global", binary_activations=True)
    assert isinstance(model, GlobalSubnet)
    fast = tfprune.convert(model, "fused", dtype="mixed_bfloat16")
    assert isinstance(fast, GlobalSubnet)
    np.testing.assert_allclose(fast(IMAGES, training=True), model(IMAGES, training=True), rtol=0.1, atol=0.3)
    plain = tfprune.convert(model, "plain")
    assert {type(layer).__module__.split(".")[0] for layer in plain._flatten_layers()} == {"keras"}
    np.testing.assert_allclose(plain(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)
    with pytest.raises(ConfigError, match=r"subnet: expected settings out of density, scope, .* received 'prune_rate'"):
        tfprune.convert(plain_network(), "subnet", prune_rate=0.2)


def test_exporting_a_sub_network(tmp_path):
    model = tfprune.convert(plain_network(), "subnet", density=0.2)
    plain = plain_model(model)
    np.testing.assert_allclose(plain(IMAGES), model(IMAGES), rtol=1e-5, atol=1e-5)


def test_scores_do_not_depend_on_weights_of_the_same_seed():
    plain = build_model("Conv2", num_classes=10, input_shape=(8, 8, 3), seed=0)
    layer = subnet_model(plain, SubnetOptions(density=0.2, seed=0)).get_layer("hidden0")
    kept = np.sign(np.asarray(layer.kernel))[np.asarray(layer.mask)]
    assert abs(kept.mean()) < 4 / kept.size**0.5
