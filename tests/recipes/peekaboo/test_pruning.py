"""Prunings over the epochs."""

from itertools import pairwise

import pytest

from tfprune.errors import ConfigError
from tfprune.recipes.peekaboo.config import PeekabooConfig
from tfprune.recipes.peekaboo.pruning import pruning_schedule


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
