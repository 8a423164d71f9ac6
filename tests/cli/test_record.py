import keras
import pytest

from tfprune.cli.inspect import run as inspect
from tfprune.cli.main import main
from tfprune.cli.model_configs import InspectConfig
from tfprune.cli.prune_config import PruneConfig
from tfprune.cli.record import pruned_record, record_lines
from tfprune.exporting import add_record, read_record

RECORD = {
    "method": "peekaboo",
    "file": "trained.keras",
    "arch": "Conv4-BN",
    "dataset": "digits",
    "num_classes": 10,
    "input_shape": [8, 8, 1],
    "augmentation": {"flip": True},
    "numbers": {"test_accuracy": 0.912345678},
    "settings": {"density": 0.3, "epochs": 7, "milestones": [2, 3], "momentum": 0.9, "seed": 1},
}


def test_lines():
    """Settings with the default of the method, such as the density, are left out."""
    assert record_lines(RECORD) == [
        "from a run of peekaboo: trained.keras, Conv4-BN trained on digits, images of 8x8x1, 10 classes",
        "numbers: test_accuracy 0.912346",
        "augmentation: flip True",
        "settings other than the defaults: epochs 7, milestones 2 3, seed 1",
    ]
    assert record_lines({}) == []
    # ImageNet has other defaults: a density of 0.5, and 100 epochs.
    on_disk = RECORD | {"settings": {"density": 0.5, "epochs": 100, "resize_size": 256}}
    assert not any("settings" in line for line in record_lines(on_disk))
    unknown = record_lines(RECORD | {"method": "mine"})
    assert unknown[-1].endswith(": density 0.3, epochs 7, milestones 2 3, momentum 0.9, seed 1")


def test_anything_can_be_in_a_file_of_others():
    odd = {"method": 3, "file": ["a"], "input_shape": "x", "settings": [1], "numbers": {"a": {"b": [1]}}, "pruned": [7]}
    odd |= {"dataset": "\x1b[2J\nred" + "x" * 10_000}
    lines = record_lines(odd)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert "?[2J?red" in lines[0]


@pytest.mark.parametrize("suffix", [".keras", ".tflite"])
def test_inspect_shows_it(suffix, folder, tmp_path, screen):
    assert main(["export", str(folder / "net.keras"), str(tmp_path / f"net{suffix}")]) == 0
    inspect(InspectConfig(str(tmp_path / f"net{suffix}"), latency=False), screen)
    assert not any("from a run" in line for line in screen.lines)
    add_record(tmp_path / f"net{suffix}", RECORD)
    inspect(InspectConfig(str(tmp_path / f"net{suffix}"), latency=False), screen)
    assert set(record_lines(RECORD)) <= set(screen.lines)


def test_what_prune_adds(folder, tmp_path):
    """The numbers are those of another model. A second pruning adds a line, an export none."""
    model, half, less = (str(tmp_path / f"{name}.keras") for name in ("net", "half", "less"))
    keras.saving.load_model(folder / "net.keras").save(model)
    add_record(tmp_path / "net.keras", RECORD)
    assert main(["prune", model, half, "--density", "0.5", "--round_to", "2"]) == 0
    assert main(["prune", half, less, "--flops", "0.9", "--criterion", "random", "--plan", f"{tmp_path}/p.json"]) == 0
    steps = [
        {"criterion": "l2", "model": "net.keras", "density": 0.5, "round_to": 2},
        {"criterion": "random", "model": "half.keras", "flops": 0.9, "plan": "p.json"},
    ]
    record = read_record(less)
    kept = {name: value for name, value in RECORD.items() if name not in ("file", "numbers")}
    assert record.pop("tfprune")
    assert record == kept | {"pruned": steps}
    for name in ("less.tflite", "copy.keras"):
        assert main(["export", less, str(tmp_path / name)]) == 0
        assert read_record(tmp_path / name) == read_record(less)
    assert record_lines(record)[-1] == "pruned: criterion random, model half.keras, flops 0.9, plan p.json"


def test_a_plan_that_is_read_has_its_own_criterion():
    record = pruned_record({}, PruneConfig("some/net.keras", "out.keras", plan="some/p.json"))
    assert record["pruned"] == [{"model": "net.keras", "plan": "p.json"}]


def test_the_criteria_that_had_an_effect_are_named():
    """A criterion for channels has none where only residual blocks are dropped."""
    settings = {"model": "net.keras", "out": "out.keras", "depth": 0.5, "depth_criterion": "l1"}
    depth = {"depth_criterion": "l1", "model": "net.keras", "depth": 0.5}
    assert pruned_record({}, PruneConfig(**settings))["pruned"] == [depth]
    both = depth | {"criterion": "l2", "flops": 0.5}
    assert pruned_record({}, PruneConfig(**settings, flops=0.5))["pruned"] == [both]
