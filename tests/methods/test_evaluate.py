import json
from dataclasses import replace

import numpy as np
import pytest

from tfprune.data import load_data
from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.exporting import save_model
from tfprune.graph import complexity
from tfprune.methods import evaluate as module
from tfprune.methods.evaluate_config import EvaluateConfig
from tfprune.models import build_model


@pytest.fixture(scope="module")
def data():
    whole = load_data("digits")
    return replace(whole, test_images=whole.test_images[:50], test_labels=whole.test_labels[:50])


@pytest.fixture(scope="module")
def network():
    model = build_model("ResNet-20", num_classes=10, input_shape=(8, 8, 1), widths={"block0.0_conv1": 3}, seed=0)
    rng = np.random.default_rng(0)
    for variable in model.non_trainable_variables:
        low, high = (-0.1, 0.1) if "mean" in variable.name else (0.5, 1.5)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


@pytest.fixture
def measured(data, network, tmp_path, monkeypatch):
    save_model(network, tmp_path / "narrow.keras")
    monkeypatch.setattr(module, "load_data", lambda name, path: data)

    def run(**changes):
        defaults = {"trained_param": str(tmp_path / "narrow.keras"), "arch": "ResNet-20", "dataset": "digits"}
        return module.run(EvaluateConfig(**(defaults | {"latency": False} | changes)))

    return run


def test_the_numbers(measured, data, network, capsys):
    numbers = measured(val_batch_size=7)
    logits = np.asarray(network(data.normalize(data.test_images), training=False), np.float64)
    assert numbers["top1"] == pytest.approx(np.mean(logits.argmax(1) == data.test_labels))
    own = logits[np.arange(50), data.test_labels]
    assert numbers["top5"] == pytest.approx(np.mean((logits > own[:, None]).sum(1) < 5))
    losses = np.log(np.exp(logits).sum(1)) - own
    assert numbers["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    cost = complexity(network)
    assert (numbers["params"], numbers["flops"], numbers["examples"]) == (cost.params, cost.flops, 50)
    assert numbers["uncounted"] == []
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("narrow.keras, 50 test images, moving averages", f"{numbers['loss']:.4f}", f"{cost.flops:,}"):
        assert text in shown
    assert "latency" not in shown


def test_batch_statistics_are_those_of_the_batches(measured, capsys):
    one, other = (measured(batch_statistics=True, val_batch_size=size)["loss"] for size in (50, 10))
    assert abs(one - other) > 1e-4
    assert "statistics of batches of 10" in capsys.readouterr().out


def test_latency_is_measured_if_asked_for(measured, capsys):
    numbers = measured(latency=True)
    assert numbers["latency_ms"] >= numbers["latency_min_ms"] > 0
    assert f"ms (minimum {numbers['latency_min_ms']:.2f}) on " in capsys.readouterr().out


def test_json(measured, tmp_path):
    numbers = measured(json=str(tmp_path / "numbers.json"))
    assert json.loads((tmp_path / "numbers.json").read_text()) == numbers


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arch": "ResNet-32"}, CheckpointError, "narrow.keras"),
        ({"arch": "ResNet-21"}, ConfigError, "ResNet-21"),
        ({"trained_param": "nowhere.keras"}, CheckpointError, "nowhere.keras does not exist; check the path"),
        ({"gpu_id": (9,)}, ConfigError, "gpu_id: no GPU 9"),
    ],
)
def test_mistakes(measured, changes, error, message):
    with pytest.raises(error) as caught:
        measured(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_json_file_that_cannot_be_written(measured, tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write .*folder.json: Is a directory; give another --json"):
        measured(json=str(tmp_path / "folder.json"))


def test_the_network_of_another_data_set(measured, data, monkeypatch):
    monkeypatch.setattr(module, "load_data", lambda name, path: replace(data, num_classes=7))
    with pytest.raises(CheckpointError, match="the file tells 10 classes apart, expected 7"):
        measured()
