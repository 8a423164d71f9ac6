import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import channel_groups, complexity, convert, slim
from tfprune.report import memory_traffic, model_report, summarize, summary
from tfprune.report.summary import NumberPrefix

layers = keras.layers


def network(shape=(8, 8, 3), name="net"):
    inputs = keras.Input(shape, name="input")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn")(x))
    x = layers.ReLU(name="relu2")(layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv2")(x))
    x = layers.Flatten()(layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x))
    return keras.Model(inputs, layers.Dense(2, name="fc")(x), name=name)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def small(model):
    groups = channel_groups(model)
    mask = np.ones(groups.channels, bool)
    mask[:4] = False
    return slim(model, mask, groups)


def shown(numbers, width=200):
    """The table's cells line by line, and the lines below it."""
    screen = io.StringIO()
    Console(file=screen, width=width).print(numbers)
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    return [" ".join(line.split()) for line in lines if line.strip(" -")]


def test_numbers_of_the_layers(model):
    report = model_report(model)
    cost = complexity(model)
    conv = report.by_layer["conv"]
    assert (conv.kind, conv.channels, conv.params, conv.flops, conv.macs) == ("Conv2D", 8, 216, 216 * 64, 216 * 64)
    bn = report.by_layer["bn"]
    assert (bn.channels, bn.params, bn.flops, bn.macs) == (8, 32, 2 * 8 * 64, 0)
    relu = report.by_layer["relu1"]
    assert (relu.params, relu.flops, relu.traffic, relu.latency_ms) == (0, 0, 2 * 4 * 8 * 64, None)
    assert (report.params, report.flops, report.macs) == (cost.params, cost.flops, cost.macs)
    assert report.params == model.count_params()
    assert sum(each.params for each in report.layers) == report.params
    assert sum(each.flops for each in report.layers) == report.flops
    assert report.traffic == sum(memory_traffic(channel_groups(model).calls).values())
    assert report.latency is None


def test_channels_first():
    inputs = keras.Input((3, 8, 8))
    conv = layers.Conv2D(5, 3, data_format="channels_first", name="conv")
    assert model_report(keras.Model(inputs, conv(inputs))).by_layer["conv"].channels == 5


def test_table_of_one_model(model):
    lines = shown(summarize(model, latency=False))
    params, flops, traffic = (
        {each.layer: getattr(each, field) for each in model_report(model).layers}
        for field in ("params", "flops", "traffic")
    )
    assert lines[:-2] == [
        "net",
        "layer kind channels params FLOPs traffic B",
        f"conv Conv2D 8 {params['conv']:,} {flops['conv']:,} {traffic['conv']:,}",
        f"bn BatchNormalization 8 {params['bn']:,} {flops['bn']:,} {traffic['bn']:,}",
        f"conv2 Conv2D 6 {params['conv2']:,} {flops['conv2']:,} {traffic['conv2']:,}",
        f"fc Dense 2 {params['fc']:,} {flops['fc']:,} {traffic['fc']:,}",
        f"2 x ReLU 0 0 {traffic['relu1'] + traffic['relu2']:,}",
        f"GlobalAveragePooling2D 0 0 {traffic['pool']:,}",
        f"whole model {model.count_params():,} {complexity(model).flops:,} {sum(traffic.values()):,}",
    ]
    assert lines[-2].startswith("FLOPs: multiply-adds")
    assert lines[-1].startswith("traffic: bytes")


def test_table_of_two_models(model, small):
    numbers = summarize(model, small, latency=False)
    lines = shown(numbers)
    assert lines[0] == "net"
    assert lines[2].startswith("conv Conv2D 8 -> 4 216 -> 108 13,824 -> 6,912 ")
    assert lines[4].startswith("conv2 Conv2D 6 -> 6 432 -> 216 ")
    assert lines[-4].startswith(f"whole model {model.count_params()} -> {small.count_params()} ")
    assert numbers.small.params == small.count_params()
    kept = [numbers.small.params / numbers.model.params, numbers.small.flops / numbers.model.flops]
    assert lines[-3].startswith("kept " + " ".join(f"{each:.1%}" for each in kept))


def test_layers_of_one_model_alone(model):
    other = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="own")], name="other")
    lines = shown(summarize(model, other, latency=False))
    assert any(line.startswith("own Dense - -> 3 - -> 15 ") for line in lines)
    assert any(line.startswith("conv Conv2D 8 -> - 216 -> - ") for line in lines)
    assert any(line.startswith("2 x ReLU 0 -> - ") for line in lines)


def test_latency(model, small):
    numbers = summarize(model, small, batch_size=2)
    assert numbers.model.latency.batch_size == numbers.small.latency.batch_size == 2
    assert numbers.model.latency.median_ms > 0
    assert numbers.model.by_layer["input"].latency_ms == 0
    lines = shown(numbers)
    assert lines[1].endswith("latency ms")
    median = f"{numbers.model.latency.median_ms:,.3f} -> {numbers.small.latency.median_ms:,.3f}"
    assert any(line.startswith("whole model") and line.endswith(median) for line in lines)
    assert any("latency: median for 2 examples on " in line for line in lines)


@pytest.mark.parametrize(("width", "left"), [(120, ()), (98, ("kind",)), (76, ("kind", "traffic"))])
def test_narrow_windows_lose_columns_not_names(model, small, width, left):
    lines = shown(summarize(model, small, latency=False), width)
    assert [word for word in ("kind", "traffic", "params") if word not in lines[1]] == list(left)
    assert [line.split()[0] for line in lines[2:6]] == ["conv", "bn", "conv2", "fc"]
    assert (f"a wider window shows more: {', '.join(left)}" in lines) == bool(left)
    assert any(line.startswith("traffic:") for line in lines) == ("traffic" not in left)


def test_unknown_sizes():
    model = network((None, None, 3))
    numbers = summarize(model, latency=False)
    assert numbers.model.params == model.count_params()
    assert numbers.model.flops is numbers.model.macs is numbers.model.traffic is None
    lines = shown(numbers)
    assert "whole model 694 ? ?" in lines
    assert lines[-1] == "?: the model takes inputs of any size; give the input_shape of one example, such as 224 224 3"
    with pytest.raises(ConfigError, match=r"unknown; give the input_shape of one example"):
        summarize(model)
    sized = summarize(model, latency=False, input_shape=(8, 8, 3)).model
    assert sized.flops == complexity(network()).flops


def test_layers_without_a_count_are_named():
    class Own(layers.Layer):
        def build(self, shape):
            self.weight = self.add_weight(shape=(shape[-1], shape[-1]))

        def call(self, values):
            hidden = tf.numpy_function(lambda each: each, [self.weight], tf.float32)
            return values @ tf.ensure_shape(hidden, self.weight.shape)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(Own(name="own")(inputs)), name="net")
    assert shown(summarize(model, latency=False))[-1] == "FLOPs not known, counted as 0, in net: own"


def test_models_without_a_graph_are_refused():
    class Own(keras.Model):
        def call(self, values):
            return values

    with pytest.raises(UnsupportedLayerError, match="functional or sequential"):
        summarize(Own(), latency=False)


def test_batch_size_is_checked(model):
    with pytest.raises(ConfigError, match="batch_size: expected a whole number from 1 to 2147483647, received 0"):
        summarize(model, batch_size=0)


def test_summary_prints_what_it_returns(model, small, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    numbers = summary(model, small, latency=False)
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip(" -")] == shown(
        numbers
    )
    screen = io.StringIO()
    assert summary(model, latency=False, console=Console(file=screen)).small is None
    assert "whole model" in screen.getvalue()


@pytest.mark.parametrize(
    ("values", "prefix", "shown"),
    [
        ([], "", []),
        ([None], "", ["?"]),
        ([0, 99_999, 7], "", ["0", "99,999", "7"]),
        ([100_000, 0, 50, 49], "k", ["100.0", "0", "0.1", "< 0.1"]),
        ([25_636_712, 2_359_808, None], "k", ["25,636.7", "2,359.8", "?"]),
        ([3_870_000_000, 231_211_008], "M", ["3,870.0", "231.2"]),
        ([10**11, 1], "G", ["100.0", "< 0.1"]),
        ([10**15], "G", ["1,000,000.0"]),
    ],
)
def test_examples(values, prefix, shown):
    chosen = NumberPrefix.for_values(values)
    assert chosen.symbol == prefix
    assert [chosen.show(value) for value in values] == shown


@given(st.lists(st.integers(0, 10**13), min_size=1))
def test_what_is_shown_is_near(values):
    prefix = NumberPrefix.for_values(values)
    for value in values:
        shown = prefix.show(value)
        if shown == "< 0.1":
            assert 0 < value < 0.1 * prefix.factor
        else:
            assert abs(float(shown.replace(",", "")) * prefix.factor - value) <= 0.0501 * prefix.factor


def test_values_of_masks_are_named():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)], name="net")
    masked = convert(model, "masked")
    assert "masks" not in str(summarize(model, latency=False))
    assert "parameters of net: 48 of them are the values of masks" in str(summarize(masked, latency=False))
