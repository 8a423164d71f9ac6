import pytest

from tfprune.errors import CheckpointError, ConfigError
from tfprune.recipes.tickets import DenseConfig, TicketConfig, run


def test_schedules_by_data_set():
    assert DenseConfig().schedule == (160, (80, 120))
    assert DenseConfig(dataset="Tiny-ImageNet").schedule == (300, (150, 225))
    assert DenseConfig(dataset="tiny-imagenet", epochs=10, milestones=(5,)).schedule == (10, (5,))


def test_milestones_fit_the_epochs():
    assert DenseConfig(epochs=10).schedule == (10, (5, 7))
    assert DenseConfig(epochs=2).schedule == (2, (1,))
    assert TicketConfig(epochs=1).schedule == (1, ())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fraction": 0.0}, "above 0 and at most 1"),
        ({"fraction": 1.2}, "above 0 and at most 1"),
        ({"density": 0}, "above 0 and at most 1"),
        ({"ticket": "smart"}, "smart_ratio"),
        ({"ticket": "snip", "hybrid": True}, "smart_ratio"),
        ({"ticket": "masks.npz", "inverse": True}, "scores"),
        ({"rewind_epoch": 2}, "iterative"),
        ({"ticket": "iterative", "rewind_epoch": 160}, "before the last"),
        ({"fixed_permutation": True}, "shuffle_pixels"),
        ({"rule": "linear"}, "linear_decay"),
        ({"milestones": (3, 3)}, "--milestones: expected values that differ, received 3 3"),
        ({"resume": True, "overwrite": True}, "one of them"),
    ],
)
def test_bad_settings(changes, words):
    with pytest.raises(ConfigError, match=words):
        TicketConfig(**changes)


def test_missing_files(tmp_path):
    for changes in ({"init": "none.keras"}, {"ticket": "none.keras"}):
        with pytest.raises(CheckpointError, match=r"none\.keras does not exist"):
            run(TicketConfig(dataset="digits", arch="ResNet-8x2", train_path=str(tmp_path / "run"), **changes))
    assert not (tmp_path / "run").exists()
