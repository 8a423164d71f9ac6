"""Prunings over the epochs."""

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
    assert found == pytest.approx({3: 0.7, 6: 0.4, 9: 0.1})


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
