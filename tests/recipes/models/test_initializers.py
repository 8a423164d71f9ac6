import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.graph.subnet import layer_seed
from tfprune.recipes.models import build_model, initialize, initializer, initializer_names
from tfprune.recipes.models.initializers import ScaledDistribution

PEEKABOO = ("standard", "kaiming_normal", "kaiming_uniform", "kaiming_laplace", "kaiming_constant_signed")
SHAPE = (3, 3, 32, 64)  # that of the golden statistics: 18 432 weights
DIGITS = {"num_classes": 10, "input_shape": (8, 8, 1)}
PEEKABOO += ("kaiming_constant_unsigned", "xavier_normal", "xavier_constant")


def draw(name, shape=SHAPE, seed=0, **options):
    return np.asarray(initializer(name, seed=seed, **options)(shape))


@pytest.mark.parametrize("name", PEEKABOO)
def test_golden_statistics_of_peekaboo(golden_peekaboo, name):
    key = f"e/init/{name}/"
    weights = draw(name)
    mean, deviation, largest = golden_peekaboo[key + "stats_mean_std_absmax"]
    error = deviation / np.sqrt(weights.size) if deviation > 1e-6 else 1e-7
    assert weights.mean() == pytest.approx(mean, abs=6 * error)
    fourth = {"kaiming_laplace": 6}.get(name, 3)  # kurtosis: how far an empirical deviation may be off
    assert weights.std() == pytest.approx(deviation, rel=6 * np.sqrt((fourth - 1) / 4 / weights.size), abs=1e-7)
    count = int(golden_peekaboo[key + "unique_abs_count"])
    if count == 1:
        assert np.unique(np.abs(weights)).tolist() == [np.float32(golden_peekaboo[key + "abs_first"])]
    else:
        assert len(np.unique(np.abs(weights))) > 0.99 * count
    if name in ("standard", "kaiming_uniform"):
        assert 0.999 * largest < np.abs(weights).max() <= 1.001 * largest


def torch_shapes(golden):
    return [tuple(int(size) for size in shape) for shape in golden["init/shapes_OIHW"]]


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("name", ["signed_constant", "unsigned_constant", "xavier_constant"])
def test_golden_constants_of_multi_prize_tickets(golden_biprop, name, mode):
    for index, (out, incoming, *size) in enumerate(torch_shapes(golden_biprop)):
        shape = (*size, incoming, out)

        def constant(shape=shape, **options):
            values = np.unique(np.abs(draw(name, shape, mode=mode, **options)))
            assert len(values) == 1
            return values[0]

        if name == "xavier_constant":
            assert constant() == np.float32(golden_biprop[f"init/{mode}/{name}"][index])
            assert constant(fan_scale=0.25) == constant()
            continue
        assert constant() == np.float32(golden_biprop[f"init/{mode}/{name}_unscaled"][index])
        for column, density in enumerate(golden_biprop["init/prune_rates"]):
            expected = np.float32(golden_biprop[f"init/{mode}/{name}_scaled"][index, column])
            np.testing.assert_allclose(constant(fan_scale=1 - density), expected, rtol=1e-7)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_golden_normals_and_uniforms_of_multi_prize_tickets(golden_biprop, mode):
    for index, (out, incoming, *size) in enumerate(torch_shapes(golden_biprop)):
        shape = (*size, incoming, out)
        golden = {
            key: golden_biprop[f"init/{mode}/{key}"][index]
            for key in (
                "kaiming_normal_std_unscaled",
                "kaiming_normal_std_scaled",
                "xavier_normal_std",
                "standard_absmax_seed0",
                "kaiming_uniform_absmax_seed0",
            )
        }
        tolerance = 6 / np.sqrt(2 * np.prod(shape))
        assert draw("kaiming_normal", shape, mode=mode).std() == pytest.approx(
            golden["kaiming_normal_std_unscaled"], rel=tolerance
        )
        assert draw("xavier_normal", shape, mode=mode).std() == pytest.approx(
            golden["xavier_normal_std"], rel=tolerance
        )
        scaled = draw("kaiming_normal", shape, mode=mode, fan_scale=1 - 0.8).std()
        assert scaled == pytest.approx(golden["kaiming_normal_std_scaled"][6], rel=tolerance)
        for name in ("standard", "kaiming_uniform"):
            largest = np.abs(draw(name, shape, mode=mode)).max()
            assert largest == pytest.approx(golden[f"{name}_absmax_seed0"], rel=30 / np.prod(shape) + 1e-5)


def test_the_other_distributions():
    zeros_and_ones = draw("bernoulli")
    assert np.unique(zeros_and_ones).tolist() == [0, 1]
    assert zeros_and_ones.mean() == pytest.approx(0.5, abs=0.02)
    scaled = draw("usc_bernoulli")
    assert np.unique(scaled).tolist() == [0, np.float32(np.sqrt(2 / 288))]
    assert np.all(draw("ones") == 1)
    assert draw("small_normal").std() == pytest.approx(0.01, rel=0.03)
    cut = draw("kaiming_truncated_normal", mode="fan_out")
    assert cut.std() == pytest.approx(np.sqrt(2 / 576), rel=0.03)
    assert np.abs(cut).max() < 2 / 0.8796 * np.sqrt(2 / 576) * 1.001
    assert draw("kaiming_normal", gain=1.0).std() == pytest.approx(np.sqrt(1 / 288), rel=0.03)
    laplace = draw("kaiming_laplace", (3, 3, 64, 512)) * np.sqrt(576)  # of scale 1
    assert np.mean(np.abs(laplace)) == pytest.approx(1, rel=0.02)
    assert np.mean(np.abs(laplace) > 3) == pytest.approx(np.exp(-3), rel=0.03)
    assert np.mean(laplace > 0) == pytest.approx(0.5, abs=0.01)
    assert np.all(np.isfinite(laplace))


@pytest.mark.parametrize("name", initializer_names())
def test_seeds_and_files(name):
    one = initializer(name, seed=5)
    again = keras.initializers.deserialize(keras.initializers.serialize(one))
    np.testing.assert_array_equal(one((3, 3, 4, 5)), again((3, 3, 4, 5)))
    np.testing.assert_array_equal(one((3, 3, 4, 5)), one((3, 3, 4, 5)))
    assert one((2, 3), dtype="float64").dtype == "float64"
    if name not in ("ones", "unsigned_constant", "kaiming_constant_unsigned"):
        assert not np.array_equal(one((3, 3, 4, 5)), initializer(name, seed=6)((3, 3, 4, 5)))
        assert not np.array_equal(initializer(name)((3, 3, 4, 5)), initializer(name)((3, 3, 4, 5)))


@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["fan_in", "fan_out", "fan_avg", "unit"]))
def test_constants_follow_the_fan(incoming, out, mode):
    fan = {"fan_in": 9 * incoming, "fan_out": 9 * out, "fan_avg": 9 * (incoming + out) / 2, "unit": 1}[mode]
    values = np.asarray(ScaledDistribution(3.0, mode, "signed_constant", seed=1)((3, 3, incoming, out)))
    np.testing.assert_allclose(np.abs(values), np.sqrt(3 / fan), rtol=1e-6)


def test_layers_do_not_start_alike():
    assert layer_seed(None, "conv") is None
    assert len({layer_seed(seed, name) for seed in (0, 1) for name in ("a", "b")}) == 4


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_laplace", "kaiming_constant_signed"])
def test_models_take_names(name, tmp_path):
    model = build_model("VGG-11", num_classes=3, input_shape=(16, 16, 1), width_multiplier=1 / 8, init=name, seed=1)
    kernel = np.asarray(model.get_layer("stage3.0_conv").kernel)
    assert kernel.std() == pytest.approx(np.sqrt(2 / 288), rel=0.05)
    bias = np.asarray(model.get_layer("stage3.0_conv").bias)
    assert 0.8 < np.abs(bias).max() * np.sqrt(288) <= 1  # uniform in one over the root of the fan, as PyTorch's
    fc = model.get_layer("fc")
    assert 0.9 < np.abs(fc.kernel).max() * np.sqrt(64) <= 1
    assert 0.0 < np.abs(fc.bias).max() * np.sqrt(64) <= 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_layer("stage3.0_conv").kernel, kernel)
    assert isinstance(keras.models.clone_model(model), keras.Model)


def test_the_classifier_of_a_conv_model_is_a_layer_like_the_others():
    options = {"num_classes": 10, "input_shape": (16, 16, 3), "init": "kaiming_constant_signed", "seed": 0}
    conv = build_model("Conv2", width_multiplier=0.25, **options)
    assert np.unique(np.abs(conv.get_layer("fc").kernel)).tolist() == [np.float32(np.sqrt(2 / 64))]
    resnet = build_model("ResNet-20", **options)
    assert len(np.unique(np.abs(resnet.get_layer("fc").kernel))) > 100
    assert all(np.all(np.asarray(layer.gamma) == 1) for layer in resnet.layers if hasattr(layer, "gamma"))
    chosen = build_model("ResNet-20", classifier_init="xavier_constant", **options)
    assert np.unique(np.abs(chosen.get_layer("fc").kernel)).tolist() == [np.float32(np.sqrt(2 / 74))]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("he", {}, "expected initial weights of standard, .*'he'"),
        ("ones", {"mode": "fan_avg"}, "mode: expected fan_in or fan_out, received 'fan_avg'"),
        ("kaiming_normal", {"fan_scale": 0.0}, "above 0"),
        ("kaiming_normal", {"gain": -1.0}, "above 0"),
        ("kaiming_normal", {"fan_scale": float("nan")}, "above 0"),
    ],
)
def test_initial_weights_wrong_requests(name, options, expected):
    with pytest.raises(ConfigError, match=expected):
        initializer(name, **options)


@pytest.mark.parametrize("arguments", [(0.0, "fan_in", "laplace"), (1.0, "fan", "laplace"), (1.0, "fan_in", "normal")])
def test_wrong_distributions(arguments):
    with pytest.raises(ConfigError, match=r"expected .*received"):
        ScaledDistribution(*arguments)


def arrays(model):
    return {variable.path: np.asarray(variable).copy() for variable in model.variables}


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_laplace", "xavier_constant"])
def test_initialize_gives_the_kernels_of_build_model(name):
    expected = build_model("ResNet-20", init=name, seed=4, **DIGITS)
    model = build_model("ResNet-20", seed=9, init="standard", **DIGITS)
    initialize(model, name, seed=4, ignore=["fc"])
    for layer in model.layers:
        if hasattr(layer, "kernel") and layer.name != "fc":
            np.testing.assert_array_equal(layer.kernel, expected.get_layer(layer.name).kernel)


def test_only_kernels_change():
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
    x = keras.layers.TimeDistributed(keras.layers.Dense(3, name="each"), name="time_distributed")(x)
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


def test_initialize_wrong_requests():
    with pytest.raises(ConfigError, match=f"expected initial weights of {initializer_names()[0]}"):
        initialize(build_model("ResNet-20", **DIGITS), "he")
    with pytest.raises(ConfigError, match="expected a built model"):
        initialize(keras.Sequential([keras.layers.Dense(2)]), "ones")
