"""Prunings over the epochs."""

import pytest

from tfprune.errors import ConfigError
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning import pruning_schedule


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
