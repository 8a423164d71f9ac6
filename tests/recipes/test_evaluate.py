import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.jpeg_tree import digits_tree
from tfprune.errors import CheckpointError, ConfigError, DataUnavailableError
from tfprune.exporting import save_model
from tfprune.graph import complexity
from tfprune.recipes import evaluate as module
from tfprune.recipes.data import load_data, open_data
from tfprune.recipes.evaluate_config import EvaluateConfig
from tfprune.recipes.models import application, build_model


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


def test_a_missing_model_is_reported_before_the_data_are_read(monkeypatch):
    monkeypatch.setattr(module, "load_data", lambda name, path: pytest.fail("the data were read"))
    with pytest.raises(CheckpointError, match=r"nowhere\.keras does not exist"):
        module.run(EvaluateConfig(trained_param="nowhere.keras"))


def test_the_settings_beside_a_model_say_what_it_is(data, network, tmp_path, monkeypatch):
    """Neither architecture nor data set must be given for a model in the folder of its run."""
    save_model(network, tmp_path / "trained.keras")
    (tmp_path / "settings.yaml").write_text("arch: ResNet-20\ndataset: digits\n")
    names = []
    monkeypatch.setattr(module, "load_data", lambda name, path: names.append(name) or data)
    for path in (tmp_path, tmp_path / "trained.keras"):
        assert module.run(EvaluateConfig(trained_param=str(path), latency=False))["examples"] == 50
    assert names == ["digits", "digits"]
    with pytest.raises(CheckpointError, match="the file is a ResNet-20, expected ResNet-32"):  # flags win
        module.run(EvaluateConfig(trained_param=str(tmp_path), arch="ResNet-32", dataset="digits"))


def test_what_neither_the_file_nor_its_folder_says_is_assumed_and_said(data, network, tmp_path, monkeypatch, capsys):
    save_model(network, tmp_path / "trained.keras")
    (tmp_path / "settings.yaml").write_text("[no settings")
    names = []
    monkeypatch.setattr(module, "load_data", lambda name, path: names.append(name) or data)
    config = EvaluateConfig(trained_param=str(tmp_path), latency=False)
    module.run(config)
    assert names == ["CIFAR10"]
    line = "trained.keras does not say what it was trained on, nor does its folder: --dataset CIFAR10 is assumed"
    assert line in capsys.readouterr().out.splitlines()
    module.run(replace(config, dataset="digits"))
    assert "assumed" not in capsys.readouterr().out
    (tmp_path / "a.pkl").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError):
        module.run(replace(config, trained_param=str(tmp_path / "a.pkl")))
    assert "--dataset CIFAR10 --arch ResNet-56 is assumed" in capsys.readouterr().out


def test_a_json_file_that_cannot_be_written(measured, tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ConfigError, match=r"expected a file to write, .*folder.json is a folder; name a file"):
        measured(json=str(tmp_path / "folder.json"))


def test_the_network_of_another_data_set(measured, data, monkeypatch):
    labels = {"train_labels": data.train_labels % 7, "test_labels": data.test_labels % 7}
    monkeypatch.setattr(module, "load_data", lambda name, path: replace(data, num_classes=7, **labels))
    with pytest.raises(CheckpointError, match="the file tells 10 classes apart, expected 7"):
        measured()


# ---------------------------------------------------------------------------------------------------------- ImageNet


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return digits_tree(tmp_path_factory.mktemp("images"), classes=3, train=2, test=3, side=40)


def imagenet(tree, **changes):
    return module.run(EvaluateConfig(**({"dataset": "imagenet", "data_path": str(tree), "latency": False} | changes)))


def test_images_from_the_disk(tree, tmp_path, capsys):
    """Without `--arch`, at the size that the file's model takes, 8/7 of it for the shorter side."""
    model = build_model("Conv2-BN", num_classes=3, input_shape=(28, 28, 3), seed=0)
    save_model(model, tmp_path / "small.keras")
    numbers = imagenet(tree, trained_param=str(tmp_path / "small.keras"), val_batch_size=4)
    (batch,) = open_data(tree, image_size=28, resize_size=32).test_batches(9)
    logits = np.asarray(model(batch["images"], training=False), np.float64)
    own = logits[np.arange(9), batch["labels"]]
    assert numbers["examples"] == 9
    assert numbers["loss"] == pytest.approx((np.log(np.exp(logits).sum(1)) - own).mean(), rel=1e-4)
    other = imagenet(tree, trained_param=str(tmp_path / "small.keras"), resize_size=28)
    assert other["loss"] != pytest.approx(numbers["loss"], rel=1e-4)
    copy = shutil.copytree(tree, tmp_path / "copy")
    (copy / "val/n02/n02_004.JPEG").write_bytes(b"no image")
    assert imagenet(copy, trained_param=str(tmp_path / "small.keras"))["examples"] == 8
    assert "1 test image of 9 could not be read" in capsys.readouterr().out


def test_networks_of_keras(tree, monkeypatch):
    """Images come as bytes would, and the network's own preparation is applied to them."""
    monkeypatch.setattr(application, "_WEIGHTS", None)
    with pytest.raises(ConfigError, match=r"the 1000 classes of ImageNet for .*, received .* with 3 others"):
        imagenet(tree, trained_param="MobileNetV2", dataset=None)
    seen = []

    class Network:
        input_shape, output_shape = (None, 24, 24, 3), (None, 3)

    def prepare(images):
        seen.append(np.asarray(images))
        return images

    monkeypatch.setattr(module, "load_application", lambda name: application.Application(Network(), prepare))
    monkeypatch.setattr(module, "_measured", lambda config, model, batches: {"examples": len(list(batches))} | FIGURES)
    imagenet(tree, trained_param="resnet50", dataset=None)
    (plain,) = open_data(tree, image_size=24, resize_size=27).test_batches(9)
    expected = 255 * (np.asarray(plain["images"]) * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406])
    np.testing.assert_allclose(seen[0], expected, atol=1e-3)


FIGURES = {"top1": 0.5, "top5": 0.5, "loss": 1.0, "params": 1, "flops": 1, "uncounted": []}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"dataset": "imagenet", "data_path": None},
            ConfigError,
            "--dataset imagenet needs --data_path: a folder with",
        ),
        (
            {"dataset": "imagnet"},
            ConfigError,
            "digits, tiny-imagenet, .*imagenet, or a data set .*; received 'imagnet'",
        ),
        (
            {"dataset": "imagenet", "data_path": "/nowhere"},
            DataUnavailableError,
            "no images in /nowhere; expected folders",
        ),
        (
            {"trained_param": "resnet50", "arch": "ResNet-50"},
            ConfigError,
            "--arch: expected none with the model resnet50",
        ),
        ({"image_size": 0}, ConfigError, "--image_size: expected a value above 0, received 0"),
    ],
)
def test_mistakes_with_imagenet(measured, monkeypatch, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        measured(**({"arch": None} | changes))
    assert "\n" not in str(caught.value)
