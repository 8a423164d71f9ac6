import keras
import numpy as np
import pytest

from tfprune.cli.inspect import run
from tfprune.cli.model_configs import InspectConfig
from tfprune.errors import CheckpointError, ConfigError, UnsupportedLayerError
from tfprune.exporting import export
from tfprune.graph import complexity, convert


def test_groups_and_layers(folder, screen):
    numbers = run(InspectConfig(str(folder / "net.keras"), latency=False), screen)
    model = keras.saving.load_model(folder / "net.keras")
    assert numbers.model.flops == complexity(model).flops
    lines = screen.lines
    assert lines[:4] == [
        "net: 2 channel groups, 14 channels",
        "group channels",
        "conv 8",
        "conv2 6",
    ]
    assert lines[6] == "net"
    assert any(line.startswith("whole model") for line in lines)
    assert lines[4:6] == ["left alone:", "fc (Dense): 10 channels stay: they are outputs of the model"]
    assert not any("latency" in line for line in lines)


def test_latency_and_a_smaller_model(folder, screen):
    numbers = run(InspectConfig(str(folder / "net.keras"), str(folder / "net.keras"), batch_size=2), screen)
    assert numbers.small.latency.batch_size == 2
    assert screen.lines.count("net") == 1  # models of one name are not `net -> net`


def test_several_makers_and_ignored_layers(folder, screen):
    run(InspectConfig(str(folder / "two.keras"), latency=False), screen)
    assert any(line == "left 6 right" for line in screen.lines)
    run(InspectConfig(str(folder / "two.keras"), latency=False, ignore=("le*",)), screen)
    assert any(line.endswith(": 0 channel groups, 0 channels") for line in screen.lines)
    assert screen.lines.count("group channels also made by") == 1
    with pytest.raises(UnsupportedLayerError, match=r"'none\*', which it lacks"):
        run(InspectConfig(str(folder / "two.keras"), latency=False, ignore=("none*",)), screen)


def test_grouped_channels_and_what_is_left_alone(screen, tmp_path):
    inputs = keras.Input((4, 4, 8))
    x = keras.layers.Conv2D(8, 3, name="grouped", groups=4)(inputs)
    x = keras.layers.Conv2D(6, 1, name="before")(x)
    x = keras.layers.UnitNormalization(axis=1, name="odd")(x)
    x = keras.layers.Conv2D(2, 1)(x)
    keras.Model(inputs, x, name="net").save(tmp_path / "net.keras")
    run(InspectConfig(str(tmp_path / "net.keras"), latency=False), screen)
    assert "grouped 8 2" in screen.lines


def test_what_is_left_alone_is_named(screen, tmp_path):
    inputs = keras.Input((5, 3))
    x = keras.layers.Softmax(name="shares")(keras.layers.Dense(4, name="held")(inputs))
    keras.Model(inputs, keras.layers.Dense(2, name="out")(x), name="net").save(tmp_path / "net.keras")
    run(InspectConfig(str(tmp_path / "net.keras"), latency=False), screen)
    place = screen.lines.index("left alone:")
    text = " ".join(line.strip() for line in screen.lines[place:])
    assert "held (Dense): 4 channels stay because of shares (Softmax): " in text


def test_weights_that_are_not_finite_are_said(screen, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
    model.get_layer("b").bias.assign([1, np.inf])
    model.save(tmp_path / "net.keras")
    run(InspectConfig(str(tmp_path / "net.keras"), latency=False), screen)
    said = " ".join(screen.lines)
    assert "the weight b/bias of " in said
    assert "expected finite numbers, received 1 of 2 that are NaN or infinite" in said


def test_open_sizes(folder, screen):
    path = str(folder / "open.keras")
    with pytest.raises(ConfigError, match=r"takes inputs of any size: give --input_shape, .* or --no_latency"):
        run(InspectConfig(path), screen)
    assert run(InspectConfig(path, latency=False), screen).model.flops is None
    numbers = run(InspectConfig(path, latency=False, input_shape=(8, 8, 1)), screen)
    assert numbers.model.flops == complexity(keras.saving.load_model(folder / "net.keras")).flops


def test_mistakes(folder):
    with pytest.raises(ConfigError, match="--batch_size: expected a value of at least 1, received 0"):
        InspectConfig("a.keras", batch_size=0)
    InspectConfig(str(folder / "net.keras")).check_files()
    with pytest.raises(CheckpointError, match=r"nowhere.keras does not exist"):
        InspectConfig(str(folder / "net.keras"), "nowhere.keras").check_files()


def test_tflite_files(folder, screen, tmp_path):
    pytest.importorskip("ai_edge_litert")
    path = str(export(keras.saving.load_model(folder / "net.keras"), tmp_path / "net.tflite", batch_size=2))
    file = run(InspectConfig(path), screen)
    assert file.operations["CONV_2D"] == 2
    lines = screen.lines
    assert "input input: float32 [2, 8, 8, 1]" in lines
    assert "output output_0: float32 [2, 10]" in lines
    assert "CONV_2D 2" in lines
    assert any(f"{file.weights} weights" in line for line in lines)
    assert "ms for a batch of 2, median" in lines[-1]
    run(InspectConfig(path, latency=False), screen)
    assert not any("median" in line for line in screen.lines[len(lines) :])
    with pytest.raises(ConfigError, match=r"net.tflite has no layers to compare or to ignore"):
        run(InspectConfig(path, str(folder / "net.keras")), screen)


def test_a_sub_network_is_shown_with_built_in_layers(folder, screen, tmp_path):
    net = convert(keras.saving.load_model(folder / "net.keras"), "subnet", density=0.25)
    net.save(tmp_path / "ticket.keras")
    numbers = run(InspectConfig(str(tmp_path / "ticket.keras"), latency=False), screen)
    kernels = [layer.kernel for layer in net.layers if hasattr(layer, "kernel")]
    total = sum(int(np.prod(kernel.shape)) for kernel in kernels)
    kept = sum(int(np.asarray(layer.mask).sum()) for layer in net.layers if hasattr(layer, "mask"))
    share = f"{kept / total:.2%}"
    assert f"sub-network of {kept:,} of {total:,} weights ({share}); shown with built-in layers" in screen.lines
    assert any(line.endswith("2 channel groups, 14 channels") for line in screen.lines)
    assert numbers.model.params == convert(net, "plain").count_params()
