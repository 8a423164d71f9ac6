import json

import keras
import pytest

from tfprune.cli import benchmark as module
from tfprune.cli.benchmark import run
from tfprune.cli.model_configs import BenchmarkConfig
from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.exporting import export
from tfprune.graph import complexity
from tfprune.report import Latency


@pytest.fixture
def fake_clock(monkeypatch):
    """The first model takes 4 ms per batch and example, the second 2 ms."""

    def compare(models, *, batch_size, runs, warm_up, description):
        times = dict(zip(models, (4.0, 2.0), strict=False))
        return {name: Latency(batch_size * time, 0.5 * time, batch_size, "device") for name, time in times.items()}

    monkeypatch.setattr(module, "compare_latency", compare)


def test_table_and_numbers(folder, screen, tmp_path, fake_clock):
    models = (str(folder / "net.keras"), str(folder / "two.keras"))
    file = tmp_path / "new" / "numbers.json"
    numbers = run(BenchmarkConfig(models, batch_size=(1, 10), json=str(file)), screen)
    costs = [complexity(keras.saving.load_model(model)) for model in models]
    assert json.loads(file.read_text()) == numbers
    assert numbers["device"] == "device"
    assert numbers["models"][models[0]] == {
        "params": costs[0].params,
        "flops": costs[0].flops,
        "latency": {"1": {"median_ms": 4, "minimum_ms": 2}, "10": {"median_ms": 40, "minimum_ms": 2}},
    }
    first, second = (f"{model} {cost.params:,} {cost.flops:,}" for model, cost in zip(models, costs, strict=True))
    assert screen.lines == [
        "model params FLOPs batch ms [minimum] examples/s speed",
        f"{first} 1 4.00 [2.00] 250 x 1.00",
        "10 40.00 [2.00] 250 x 1.00",
        f"{second} 1 2.00 [1.00] 500 x 2.00",
        "10 20.00 [1.00] 500 x 2.00",
        "ms: median and [minimum] of 50 calls each, in turn, on device",
        f"wrote {file}",
    ]


def test_batch_sizes_that_a_file_cannot_run_are_left_out(folder, screen, tmp_path, fake_clock):
    any_size, fixed = str(folder / "net.keras"), str(tmp_path / "fixed.keras")
    inputs = keras.Input(batch_shape=(32, 4, 3))
    keras.Model(inputs, keras.layers.GRU(2, stateful=True)(inputs)).save(fixed)
    numbers = run(BenchmarkConfig((any_size, fixed)), screen)["models"]
    assert [list(numbers[path]["latency"]) for path in (any_size, fixed)] == [["1", "32"], ["32"]]
    assert f"{fixed} takes batches of 32; left out: 1" in screen.lines
    assert list(run(BenchmarkConfig((fixed,)), screen)["models"][fixed]["latency"]) == ["32"]
    with pytest.raises(ConfigError, match=r"fixed.keras takes batches of 32, not of 1 or 8; give --batch_size 32"):
        run(BenchmarkConfig((any_size, fixed), batch_size=(1, 8)), screen)


def test_one_model_is_compared_to_none(folder, screen, fake_clock):
    run(BenchmarkConfig((str(folder / "net.keras"),)), screen)
    assert screen.lines[0] == "model params FLOPs batch ms [minimum] examples/s"


def test_real_times(folder, screen):
    config = BenchmarkConfig((str(folder / "two.keras"),), batch_size=(2,), runs=3, warm_up=1)
    (numbers,) = run(config, screen)["models"].values()
    assert numbers["latency"]["2"]["median_ms"] >= numbers["latency"]["2"]["minimum_ms"] > 0


def test_open_sizes(folder, screen):
    with pytest.raises(ConfigError, match="give the input_shape of one example"):
        run(BenchmarkConfig((str(folder / "open.keras"),)), screen)
    config = BenchmarkConfig((str(folder / "open.keras"),), batch_size=(1,), runs=1, input_shape=(8, 8, 1))
    (numbers,) = run(config, screen)["models"].values()
    assert numbers["flops"] == complexity(keras.saving.load_model(folder / "net.keras")).flops


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": (1, 0)}, "--batch_size: expected values of at least 1, received 1 0"),
        ({"runs": 0}, "--runs: expected a value of at least 1, received 0"),
        ({"models": ("a.keras", "a.keras")}, "expected different models"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ConfigError, match=message):
        BenchmarkConfig(**({"models": ("a.keras",)} | settings))


def test_files_are_checked_first(folder, tmp_path):
    model = str(folder / "net.keras")
    with pytest.raises(CheckpointError, match=r"nowhere.keras does not exist"):
        BenchmarkConfig((model, "nowhere.keras")).check_files()
    (tmp_path / "old.json").touch()
    with pytest.raises(RunFolderError, match=r"old.json exists"):
        run(BenchmarkConfig((model,), json=str(tmp_path / "old.json")))
    BenchmarkConfig((model,), json=str(tmp_path / "old.json"), overwrite=True).check_files()


def test_tflite_files(folder, screen, tmp_path):
    pytest.importorskip("ai_edge_litert")
    model = str(folder / "net.keras")
    path = str(export(keras.saving.load_model(model), tmp_path / "net.tflite"))
    numbers = run(BenchmarkConfig((model, path), batch_size=(2, 3), runs=2, warm_up=1), screen)["models"]
    assert (numbers[path]["params"], numbers[path]["flops"]) == (None, None)
    assert numbers[model]["params"] > 0
    for latency in numbers[path]["latency"].values():
        assert latency["median_ms"] >= latency["minimum_ms"] > 0
    fixed = str(export(keras.saving.load_model(model), tmp_path / "fixed.tflite", batch_size=4))
    with pytest.raises(ConfigError, match=r"fixed.tflite takes batches of 4, not of 1 or 32; give --batch_size 4"):
        run(BenchmarkConfig((fixed,), runs=1), screen)
    for name in ("net.onnx", "net.h5"):
        (tmp_path / name).touch()
        with pytest.raises(CheckpointError, match=r"expected a .keras or .tflite file, received"):
            BenchmarkConfig((str(tmp_path / name),)).check_files()
