import keras
import pytest

from tests.models.torch_names import registration_order
from tfprune.errors import ConfigError
from tfprune.graph import adds_branches, main_path_order, prunable_weights
from tfprune.models import build_model

layers = keras.layers


@pytest.mark.parametrize("arch", ["ResNet-20", "ResNet-50", "ResNet-56x2", "WideResNet-28-10"])
def test_residual_networks_in_the_order_of_pytorch(arch):
    model = build_model(arch, num_classes=10, input_shape=(32, 32, 3), init="ones", classifier_init="ones")
    expected = [f"{layer.name}/kernel" for layer in registration_order(model, "kernel")]
    assert list(main_path_order(model)) == expected
    assert adds_branches(model)


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
