import keras
import numpy as np
import pytest

from tfprune.errors import ConfigError
from tfprune.models import build_model, initialize, initializer_names

DIGITS = {"num_classes": 10, "input_shape": (8, 8, 1)}


def arrays(model):
    return {variable.path: np.asarray(variable).copy() for variable in model.variables}


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_laplace", "xavier_constant"])
def test_gives_what_build_model_gives(name):
    expected = build_model("ResNet-20", init=name, seed=4, **DIGITS)
    model = build_model("ResNet-20", seed=9, init="standard", **DIGITS)
    initialize(model, name, seed=4, ignore=["fc"])
    for layer in model.layers:
        if hasattr(layer, "kernel") and layer.name != "fc":
            np.testing.assert_array_equal(layer.kernel, expected.get_layer(layer.name).kernel)


def test_nothing_but_kernels_changes():
    model = build_model("ResNet-20", seed=9, **DIGITS)
    before = arrays(model)
    initialize(model, "kaiming_normal", seed=1, ignore=["block2*"])
    changed = {path for path, value in arrays(model).items() if not np.array_equal(value, before[path])}
    assert changed == {path for path in before if path.endswith("kernel") and not path.startswith("block2")}


def test_signs_are_kept(golden_peekaboo):
    model = build_model("ResNet-20", seed=9, init="standard", **DIGITS)
    before = arrays(model)
    for name in ("kaiming_constant_signed", "xavier_constant"):
        assert golden_peekaboo[f"e/init/{name}/keeps_previous_signs"]
        initialize(model, name, seed=1, keep_signs=True)
        for path, value in arrays(model).items():
            np.testing.assert_array_equal(np.sign(value), np.sign(before[path]))
    assert np.unique(np.abs(model.get_layer("conv").kernel)).tolist() == [np.float32(np.sqrt(2 / (9 + 144)))]


def mixed_model():
    inputs = keras.Input((8, 8, 4))
    inner_input = keras.Input((8, 8, 6))
    shared = keras.layers.Conv2D(6, 3, padding="same", name="shared")
    inner = keras.Model(inner_input, shared(shared(inner_input)), name="inner")
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(inputs)
    x = keras.layers.SeparableConv2D(6, 3, padding="same", name="separable")(x)
    x = keras.layers.Conv2D(6, 3, groups=2, padding="same", name="grouped")(inner(x))
    x = keras.layers.Conv2DTranspose(5, 3, padding="same", name="transposed")(x)
    x = keras.layers.Reshape((64, 5))(x)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    x = keras.layers.EinsumDense("abc,cd->abd", (64, 7), name="einsum")(x)
    x = keras.layers.TimeDistributed(keras.layers.Dense(3, name="each"))(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc")(keras.layers.Flatten()(x)))


def test_fans_of_all_kinds_of_layers():
    model = mixed_model()
    initialize(model, "unsigned_constant", seed=0)

    def fan(kernel):
        (value,) = np.unique(np.asarray(kernel))
        return round(2 / float(value) ** 2)

    layer = model.get_layer
    assert fan(layer("depthwise").kernel) == 9
    assert fan(layer("separable").depthwise_kernel) == 9
    assert fan(layer("separable").pointwise_kernel) == 8
    assert fan(layer("grouped").kernel) == 27
    assert fan(layer("transposed").kernel) == 45  # PyTorch, too, takes its outputs for what it reads
    assert fan(layer("attention").query_dense.kernel) == 5
    assert fan(layer("attention").output_dense.kernel) == 6
    assert fan(layer("einsum").kernel) == 5
    assert fan(layer("inner").get_layer("shared").kernel) == 54
    assert fan(layer("fc").kernel) == 192
    assert fan(layer("time_distributed").layer.kernel) == 7
    initialize(model, "unsigned_constant", mode="fan_out")
    assert fan(layer("depthwise").kernel) == 72
    assert fan(layer("attention").query_dense.kernel) == 6


def test_layers_of_one_shape_start_differently():
    model = build_model("ResNet-20", seed=9, **DIGITS)
    initialize(model, "kaiming_normal", seed=0)
    kernels = [np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)
    first = arrays(model)
    initialize(model, "kaiming_normal", seed=0)
    for path, value in arrays(model).items():
        np.testing.assert_array_equal(value, first[path])
    initialize(model, "kaiming_normal")
    assert not np.array_equal(model.get_layer("conv").kernel, first["conv/kernel"])


def test_wrong_requests():
    with pytest.raises(ConfigError, match=f"expected initial weights of {initializer_names()[0]}"):
        initialize(build_model("ResNet-20", **DIGITS), "he")
    with pytest.raises(ConfigError, match="expected a built model"):
        initialize(keras.Sequential([keras.layers.Dense(2)]), "ones")
