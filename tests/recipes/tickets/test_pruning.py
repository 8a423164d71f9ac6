"""What the criteria of tickets are given."""

import pytest

from tests.models import tiny_architecture
from tfprune.criteria import SNIP, GraSP, SynFlow, examples_at_once
from tfprune.errors import ConfigError
from tfprune.recipes.data import load_data
from tfprune.recipes.tickets import TicketConfig
from tfprune.recipes.tickets.pruning import find_ticket, make_criterion, prune_batches


def model_of(data):
    return tiny_architecture(input_shape=data.input_shape, num_classes=data.num_classes, seed=0)


@pytest.mark.parametrize("ticket", ["snip", "grasp", "synflow"])
def test_scores_have_the_precision_of_the_library_or_the_one_asked_for(ticket):
    kind = {"snip": SNIP, "grasp": GraSP, "synflow": SynFlow}[ticket]
    for settings, expected in (({}, kind().precision), ({"prune_precision": "float32"}, "float32")):
        criterion = make_criterion(TicketConfig(ticket=ticket, **settings))
        assert isinstance(criterion, kind)
        assert criterion.precision == expected


def test_images_come_in_batches_that_fit(monkeypatch):
    data = load_data("digits")
    model = model_of(data)
    assert [len(labels) for _, labels in prune_batches(TicketConfig(ticket="snip"), model, data)] == [100]
    config = TicketConfig(ticket="snip", prune_batch_size=20)
    for _, labels in prune_batches(config, model, data):
        assert labels.tolist() == sorted([*range(10)] * 2)
    monkeypatch.setattr("tfprune.criteria.data._VALUES", 30 * (300_000_000 // examples_at_once(model)))
    sizes = [len(labels) for _, labels in prune_batches(TicketConfig(ticket="snip"), model, data)]
    assert sum(sizes) == 100
    assert sizes[0] == examples_at_once(model) <= 31


@pytest.mark.parametrize("ticket", ["snip", "grasp"])
def test_batches_larger_than_the_default_are_not_cut_again(monkeypatch, ticket):
    """What is asked for is what batch norms see, whatever the model's size."""
    data = load_data("digits")
    model = model_of(data)
    config = TicketConfig(ticket=ticket, density=0.3, samples_per_class=4, prune_batch_size=40)
    expected = find_ticket(config, model, data)
    monkeypatch.setattr("tfprune.criteria.data._VALUES", 1)
    assert find_ticket(config, model, data) == expected
    smaller = TicketConfig(ticket=ticket, density=0.3, samples_per_class=4)
    assert find_ticket(smaller, model, data) != expected


def test_settings_of_scores_are_for_tickets_that_have_some():
    with pytest.raises(ConfigError, match="--prune_batch_size is for snip, grasp, received --ticket synflow"):
        TicketConfig(ticket="synflow", prune_batch_size=10)
    with pytest.raises(ConfigError, match="--prune_precision is for snip, grasp, synflow, received --ticket random"):
        TicketConfig(ticket="random", prune_precision="float32")
    with pytest.raises(ConfigError, match="--prune_batch_size: expected a value above 0, received 0"):
        TicketConfig(ticket="snip", prune_batch_size=0)
