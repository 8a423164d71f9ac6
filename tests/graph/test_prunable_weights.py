import keras
import numpy as np
import pytest

from tests.recipes.models.torch_names import registration_order
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import adds_branches, main_path_order, prunable_weights
from tfprune.recipes.models import build_model

layers = keras.layers


def names(model, **options):
    return list(prunable_weights(model, **options))


@keras.saving.register_keras_serializable(package="tests")
class SelfAttending(layers.Layer):
    """Keeps its attention where the attributes of TensorFlow's tracking begin, too, as KerasHub's encoders do."""

    def build(self, shape):
        self._self_attention_layer = layers.MultiHeadAttention(2, 3)
        self._self_attention_layer.build(shape, shape)

    def call(self, inputs):
        return self._self_attention_layer(inputs, inputs)


def test_attributes_that_begin_as_those_of_tensorflow():
    inputs = keras.Input((4, 6))
    model = keras.Model(inputs, SelfAttending(name="block")(inputs))
    parts = ("query", "key", "value", "output")
    assert list(prunable_weights(model)) == [f"block/_self_attention_layer.{part}_dense.kernel" for part in parts]


def test_kernels_of_every_kind_in_order():
    x = inputs = keras.Input((12, 12, 4))
    x = layers.Conv2D(8, 3, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(6, 3, name="separable")(x)
    x = layers.Conv2DTranspose(5, 2, name="transposed")(x)
    x = layers.LayerNormalization(name="ln")(x)
    x = layers.Reshape((7, 7, 1, 5))(x)
    x = layers.Conv3D(4, (3, 3, 1), name="conv3d")(x)
    x = layers.Reshape((25, 4))(x)
    x = layers.Conv1D(4, 3, name="conv1d")(x)
    x = layers.SeparableConv1D(4, 3, name="separable1d")(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 6), name="einsum")(x)
    x = layers.LSTM(3, name="lstm")(x)
    x = layers.Dense(2, name="fc")(x)
    model = keras.Model(inputs, x)
    found = prunable_weights(model)
    assert list(found) == [
        "conv/kernel",
        "depthwise/kernel",
        "separable/depthwise_kernel",
        "separable/pointwise_kernel",
        "transposed/kernel",
        "conv3d/kernel",
        "conv1d/kernel",
        "separable1d/depthwise_kernel",
        "separable1d/pointwise_kernel",
        "einsum/kernel",
        "lstm/cell.kernel",
        "lstm/cell.recurrent_kernel",
        "fc/kernel",
    ]
    assert found["fc/kernel"] is model.get_layer("fc").kernel
    assert found["separable/pointwise_kernel"] is model.get_layer("separable").pointwise_kernel


class Own(layers.Dense):
    pass


def nested():
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, Own(4, name="own")(inner_input), name="inner")
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    x = shared(inner(shared(inputs)))
    return keras.Model(inputs, layers.Dense(2, name="fc")(inner(x)))


def test_nested_models_shared_layers_and_derived_classes():
    assert names(nested()) == ["shared/kernel", "inner/own/kernel", "fc/kernel"]


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        ("fc", ["shared/kernel", "inner/own/kernel"]),
        (["fc", "shared"], ["inner/own/kernel"]),
        ("inner", ["shared/kernel", "fc/kernel"]),
        ("inner/own", ["shared/kernel", "fc/kernel"]),
        ("inner/own/kernel", ["shared/kernel", "fc/kernel"]),
        ("*/own*", ["shared/kernel", "fc/kernel"]),
        ("[sf]*", ["inner/own/kernel"]),
    ],
)
def test_what_is_ignored(ignore, left):
    assert names(nested(), ignore=ignore) == left


def test_layers_and_nested_models_are_ignored():
    model = nested()
    assert names(model, ignore=model.get_layer("fc")) == ["shared/kernel", "inner/own/kernel"]
    assert names(model, ignore=[model.get_layer("inner")]) == ["shared/kernel", "fc/kernel"]


def test_weights_that_two_layers_hold_stand_once():
    first, second = layers.Dense(3, name="first"), layers.Dense(3, name="second")
    inputs = keras.Input((3,))
    second.build((None, 3))
    model = keras.Model(inputs, second(first(inputs)))
    object.__setattr__(second, "_kernel", first._kernel)
    assert names(model) == ["first/kernel"]
    with pytest.raises(ConfigError, match="found none but those to ignore"):
        names(model, ignore="first")


def test_mistakes():
    with pytest.raises(ConfigError, match="expected layers of the model, received 'fcc', which it lacks"):
        names(nested(), ignore="fcc")
    with pytest.raises(ConfigError, match="expected layers of the model, received 'other'"):
        names(nested(), ignore=layers.Dense(2, name="other"))
    inputs = keras.Input((3,))
    with pytest.raises(ConfigError, match="found none; give a model"):
        names(keras.Model(inputs, layers.ReLU()(inputs)))

    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UnsupportedLayerError):
        names(Subclassed())
    lora = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="fc")])
    lora.layers[0].enable_lora(2)
    with pytest.raises(ConfigError, match="received fc with a LoRA update"):
        names(lora)


def test_order_and_counts_of_a_network():
    model = build_model("ResNet-20", num_classes=10, input_shape=(32, 32, 3), init="ones")
    weights = prunable_weights(model, ignore="fc")
    assert len(weights) == 21
    assert sum(int(np.prod(weight.shape)) for weight in weights.values()) == 270_256
    assert next(iter(weights)) == "conv/kernel"


@pytest.mark.parametrize("arch", ["ResNet-20", "ResNet-50", "ResNet-56x2", "WideResNet-28-10"])
def test_residual_networks_in_the_order_of_pytorch(arch):
    model = build_model(arch, num_classes=10, input_shape=(32, 32, 3), init="ones", classifier_init="ones")
    expected = [f"{layer.name}/kernel" for layer in registration_order(model, "kernel")]
    assert list(main_path_order(model)) == expected
    assert adds_branches(model)


def test_all_kernels_of_a_path_count():
    """The branch of two separable convolutions has four kernels, the other one three."""
    x = keras.Input((8, 8, 4))
    short, long = x, x
    for name in ("a", "b", "c"):
        short = layers.Conv2D(4, 3, padding="same", name=name)(short)
    for name in ("d", "e"):
        long = layers.SeparableConv2D(4, 3, padding="same", name=name)(long)
    order = list(main_path_order(keras.Model(x, layers.Add()([short, long]))))
    both = ("depthwise_kernel", "pointwise_kernel")
    assert order == [*(f"{name}/{kind}" for name in "de" for kind in both), "a/kernel", "b/kernel", "c/kernel"]


def test_chains_as_they_are():
    model = build_model("VGG-11", num_classes=10, input_shape=(32, 32, 3), init="ones", classifier_init="ones")
    assert list(main_path_order(model)) == list(prunable_weights(model))
    assert not adds_branches(model)


def test_same_weights_in_nested_models_and_shared_layers():
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    inner = keras.Model(x, layers.Add()([x, layers.Dense(4, name="within")(x)]), name="inner")
    y = layers.Concatenate()([shared(x), shared(inner(layers.Dense(4, name="first")(x)))])
    model = keras.Model(x, y)
    assert list(main_path_order(model)) == ["first/kernel", "inner/within/kernel", "shared/kernel"]
    assert list(main_path_order(model, ignore="first")) == ["inner/within/kernel", "shared/kernel"]
    with pytest.raises(ConfigError):
        main_path_order(model, ignore="second")
