from dataclasses import fields

import pytest
import yaml

from tfprune.errors import ConfigError
from tfprune.recipes.ekg import EKGConfig
from tfprune.settings import shown

REFUSED = {
    "batch_size": (0, "a value above 0"),
    "val_batch_size": (0, "a value above 0"),
    "search_batch_size": (-1, "a value above 0"),
    "search_images": (0, "a value above 0"),
    "pretrain_images": (0, "a value above 0"),
    "num_teacher": (0, "a value above 0"),
    "baseline_epoch": (0, "a value above 0"),
    "do_log": (0, "a value above 0"),
    "learning_rate": (0.0, "a value above 0"),
    "baseline_learning_rate": (float("nan"), "a value above 0"),
    "decay_rate": (0.0, "a value above 0"),
    "weight_decay": (-1e-4, "a value of at least 0"),
    "train_epoch": (-1, "a value of at least 0"),
    "seed": (-1, "a value of at least 0"),
    "search_seed": (-1, "a value of at least 0"),
    "search_target_rate": (1.0, "a value between 0 and 1"),
    "search_step": (0.0, "a value between 0 and 1"),
    "accum": (129, "at most the batch size, 128"),
    "gpu_id": ((), "at least one value"),
    "decay_points": ((0.5, 0.0), "values above 0"),
    "precision": ("bfloat16", "float32, mixed_bfloat16 or mixed_float16"),
    "search_precision": ("mixed_float16", "float32 or mixed_bfloat16"),
    "compile": ("yes", "auto, on or off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    value, expected = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        EKGConfig(**{name: value})
    assert str(caught.value) == f"--{name}: expected {expected}, received {shown(value)}"


def test_a_learning_rate_drops_once_in_an_epoch():
    for points in ((0.3, 0.3), (3, 3.5)):
        with pytest.raises(ConfigError, match="--decay_points: expected values that differ, received"):
            EKGConfig(decay_points=points)
    EKGConfig(decay_points=(0.3, 0.31, 1, 2))


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_the_target_is_a_fraction(value):
    with pytest.raises(ConfigError, match="--search_target_rate: expected a value between 0 and 1, received"):
        EKGConfig(search_target_rate=value)


def test_resume_and_overwrite_exclude_each_other():
    with pytest.raises(ConfigError, match="give one of them"):
        EKGConfig(resume=True, overwrite=True)


def test_landscapes_are_recorded_in_a_search():
    with pytest.raises(ConfigError, match="--record_landscape: it is recorded in the search; leave out --no_searching"):
        EKGConfig(record_landscape="sections", searching=False)
    with pytest.raises(ConfigError, match="--record_landscape: expected sections or hessian, received yes"):
        EKGConfig(record_landscape="yes")


def test_the_values_at_the_edge_are_taken():
    EKGConfig(train_epoch=0, weight_decay=0.0, seed=0, search_seed=0, accum=128, decay_points=())


def test_settings_are_plain_and_make_the_same_run():
    config = EKGConfig(gpu_id=(0, 2), decay_points=(0.5,), train_path="elsewhere", resume=True)
    settings = yaml.safe_load(yaml.safe_dump(config.settings()))
    assert set(settings) == {field.name for field in fields(EKGConfig)} - {"train_path", "resume", "overwrite"}
    again = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    assert EKGConfig(**again, train_path="elsewhere", resume=True) == config


def test_the_defaults_are_those_of_the_original_driver():
    """But for Knowledge, which its documented command leaves off."""
    settings = EKGConfig().settings()
    original = {
        "arch": "ResNet-56",
        "dataset": "CIFAR10",
        "num_teacher": 5,
        "learning_rate": 1e-2,
        "decay_points": [0.3, 0.6, 0.8],
        "decay_rate": 0.2,
        "weight_decay": 5e-4,
        "batch_size": 128,
        "val_batch_size": 256,
        "train_epoch": 100,
        "search_target_rate": 0.45,
        "search_step": 0.2,
        "search_batch_size": 256,
        "search_seed": 1,
        "seed": 1,
        "accum": 1,
        "do_log": 200,
        "search_images": 32,
        "pretrain_images": 256,
    }
    assert {name: settings[name] for name in original} == original
    assert settings["Knowledge"] is True
