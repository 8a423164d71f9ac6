from itertools import pairwise

import keras
import numpy as np
import pytest

from tfprune.criteria import Magnitude
from tfprune.errors import ConfigError
from tfprune.masks import Masks
from tfprune.pruning import iterative_tickets


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, name="a"), keras.layers.Dense(8, name="b")])


class Train:
    """Notes what it is called with; training draws the weights anew."""

    def __init__(self):
        self.calls = []

    def __call__(self, number, start, masks):
        self.calls.append((number, start.get_weights(), masks))
        trained = keras.models.clone_model(start)
        random = np.random.default_rng(number)
        trained.set_weights([random.standard_normal(weight.shape) for weight in start.get_weights()])
        return trained


def test_rounds_prune_what_is_left_of_the_trained_network(model):
    train, before = Train(), model.get_weights()
    found = list(iterative_tickets(model, 0.125, train, rounds=3))
    assert [masks.kept for masks in found] == [64, 32, 16]
    for earlier, later in pairwise(found):
        assert (earlier & later) == later
    for number, start, _ in train.calls:
        for one, other in zip(start, before, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"round {number} goes back to the start")
    assert [masks.kept for *_, masks in train.calls] == [128, 64, 32]
    second = Train()(2, model, found[0])
    assert found[1] == Magnitude()(second, 0.25, masks=found[0])


def test_going_on_gives_the_same(model):
    whole = list(iterative_tickets(model, 0.1, Train(), rounds=4))
    rest = list(iterative_tickets(model, 0.1, Train(), rounds=4, masks=whole[1], first_round=3))
    assert rest == whole[2:]
    assert list(iterative_tickets(model, 0.1, Train(), rounds=4, masks=whole[3], first_round=5)) == []


def test_one_round_is_one_shot(model):
    (masks,) = iterative_tickets(model, 0.3, lambda number, start, masks: start, rounds=1)
    assert masks == Magnitude()(model, 0.3)
    assert isinstance(masks, Masks)


@pytest.mark.parametrize(("density", "rounds"), [(0, 2), (1.5, 2), (0.5, 0)])
def test_bad_numbers(model, density, rounds):
    with pytest.raises(ConfigError, match="density above 0"):
        next(iterative_tickets(model, density, Train(), rounds=rounds))
