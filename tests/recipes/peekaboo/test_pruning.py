"""Prunings over the epochs."""

from itertools import pairwise

import pytest

from tests.models import tiny_architecture
from tfprune.errors import ConfigError
from tfprune.recipes.data import load_data
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning import find_masks, pruning_schedule


def test_once_before_training():
    assert pruning_schedule(PeekabooConfig(density=0.3)) == {0: 0.3}


def test_evenly_spaced_with_equal_steps():
    found = pruning_schedule(PeekabooConfig(density=0.1, prune_epoch=11, prune_shots=3))
    assert found == pytest.approx({3: 0.7, 7: 0.4, 11: 0.1})
    assert list(pruning_schedule(PeekabooConfig(prune_epoch=10, prune_shots=3))) == [3, 6, 10]


@pytest.mark.parametrize("shots", [1, 2, 3, 7])
def test_the_last_pruning_is_before_the_epoch_that_is_asked_for(shots):
    for epoch in range(shots, 40):
        found = pruning_schedule(PeekabooConfig(density=0.2, prune_epoch=epoch, prune_shots=shots))
        gaps = [after - before for before, after in pairwise([0, *found])]
        assert len(found) == shots
        assert list(found)[-1] == epoch
        assert list(found.values())[-1] == 0.2
        assert min(gaps) >= 1
        assert max(gaps) - min(gaps) <= 1
        if epoch % shots == 0:  # the original rounds its interval down, which here changes nothing
            assert found == pytest.approx(
                {(shot + 1) * (epoch // shots): 1 - 0.8 * (shot + 1) / shots for shot in range(shots)}
            )


def test_nothing_to_prune():
    assert pruning_schedule(PeekabooConfig(pruner="none")) == {}
    assert pruning_schedule(PeekabooConfig(masks="a.npz")) == {}


def test_several_shots_before_the_first_epoch_are_an_error():
    with pytest.raises(ConfigError, match="prune_shots: expected at most one per epoch"):
        PeekabooConfig(prune_shots=2)


@pytest.mark.parametrize("settings", [{"pruner": "SNIP"}, {"pruner": "GraSP", "grasp_variant": "peekaboo"}])
def test_masks_do_not_depend_on_the_batches(settings):
    """Of images, unless batch norms use the statistics of each."""
    data = load_data("digits")
    model = tiny_architecture(input_shape=data.input_shape, num_classes=data.num_classes, seed=0)
    whole, parts = (
        find_masks(PeekabooConfig(**settings, prune_iters=1, prune_images=50, prune_batch_size=size), model, data, 0.3)
        for size in (None, 7)
    )
    assert whole == parts


def test_the_batch_size_is_what_batch_norms_see(monkeypatch):
    data = load_data("digits")
    model = tiny_architecture(input_shape=data.input_shape, num_classes=data.num_classes, seed=0)

    def found(size):
        config = PeekabooConfig(pruner="GraSP", prune_iters=1, prune_images=50, prune_batch_size=size)
        return find_masks(config, model, data, 0.3)

    whole, parts = found(50), found(10)
    assert whole != parts
    monkeypatch.setattr("tfprune.criteria.data._VALUES", 1)
    assert found(50) == whole
