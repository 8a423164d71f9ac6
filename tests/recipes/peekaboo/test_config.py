"""What the settings refuse."""

import pytest

from tfprune.errors import ConfigError
from tfprune.recipes.catalog import configs
from tfprune.recipes.peekaboo.config import PeekabooConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"density": 0.0}, "--density: expected a value above 0 and at most 1, received 0.0"),
        ({"density": 1.1}, "--density: expected a value above 0 and at most 1, received 1.1"),
        ({"grasp_variant": "peekaboo"}, "--grasp_variant does nothing with --pruner SynFlow"),
        ({"fraction": 0.0}, "--fraction: expected a value above 0 and at most 1, received 0.0"),
        ({"prune_iters": 0}, "--prune_iters: expected a value above 0"),
        ({"tau": -1e-9}, "--tau: expected a value of at least 0"),
        ({"ar": 1.0}, "--ar: expected a value between 0 and 1, received 1.0"),
        ({"psg": True, "psg_input_bits": 1}, "--psg_input_bits: expected a value from 2 to 32, received 1"),
        ({"psg_sparsify": True}, "--psg_sparsify does nothing without --psg"),
        ({"psg": True, "psg_relative_threshold": 0.1, "psg_absolute_threshold": 0.1}, "exclude each other"),
        (
            {"psg": True, "precision": "mixed_float16"},
            "--precision: expected float32 or mixed_bfloat16 with --psg, received mixed_float16",
        ),
        ({"optimizer": "Adam"}, "--optimizer: expected BOP or SGD, received Adam"),
        ({"prune_epoch": 180}, "--prune_epoch: expected an epoch before the last"),
        ({"masks": "a.npz", "prune_epoch": 3}, "--masks holds from the start"),
        ({"resume": True, "overwrite": True}, "give one of them"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        PeekabooConfig(**changes)


def test_settings_make_the_same_config():
    config = PeekabooConfig(milestones=(3, 4), psg=True, train_path="there")
    again = PeekabooConfig(
        **{**config.settings(), "milestones": (3, 4), "gpu_id": (0,), "plugin": ()}, train_path="there"
    )
    assert again == config


def test_the_first_drop_of_ar_is_not_before_the_training():
    config = configs(imagenet=True)["peekaboo"]
    with pytest.raises(ConfigError, match="--ar_decay_freq: expected more than the 1 by which drops come early"):
        config(data_path="images", ar_decay_freq=1)
    assert (
        config(data_path="images", ar_decay_freq=2).ar_decay_freq == PeekabooConfig(ar_decay_freq=1).ar_decay_freq + 1
    )
