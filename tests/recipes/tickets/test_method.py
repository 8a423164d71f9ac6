"""All stages on a tiny network."""

import csv

import keras
import numpy as np
import pytest

from tests.event_files import check_histogram, read_events
from tfprune.criteria import SmartRatio
from tfprune.errors import CheckpointError, ConfigError, RunFolderError
from tfprune.graph import prunable_weights
from tfprune.masks import Masks, Ticket
from tfprune.recipes.data import load_data
from tfprune.recipes.models import build_model
from tfprune.recipes.tickets import TicketConfig
from tfprune.recipes.tickets.method import Dense

TOTAL = 9 * 8 + 9 * 8 * 12 + 12 * 10
pytestmark = pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")


def kernels(path):
    return {name: np.asarray(weight) for name, weight in prunable_weights(keras.saving.load_model(path)).items()}


def check_zeros(result):
    for name, weight in prunable_weights(result.model).items():
        assert not np.asarray(weight)[~result.masks[name]].any(), name
        assert np.asarray(weight)[result.masks[name]].any(), name


@pytest.mark.parametrize(
    "ticket",
    [
        "smart_ratio",
        "grasp",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("hybrid", "lottery", "magnitude", "snip", "synflow")),
        pytest.param("random", marks=pytest.mark.slow),
    ],
)
def test_pruned_weights_end_at_zero(tiny_world, ticket):
    result = tiny_world(ticket=ticket, weight_decay=0.01, epochs=1)
    assert result.masks.total == TOTAL
    assert result.masks.kept == pytest.approx(0.3 * TOTAL, abs=4)
    check_zeros(result)
    start = Ticket.load(result.folder / "ticket.npz")
    assert start.masks == result.masks
    for name, first in kernels(result.folder / "initial.keras").items():
        np.testing.assert_array_equal(start.weights[name], first)


@pytest.mark.parametrize("ticket", ["magnitude", "smart_ratio"])
def test_scores_and_densities_of_single_weights(tiny_world, ticket):
    result = tiny_world(ticket=ticket, epochs=1)
    scores = read_events(result.folder / "events" / "scores")
    for name, weight in kernels(result.folder / "initial.keras").items():
        if ticket == "magnitude":
            check_histogram(scores[f"scores/{name}", 0], np.abs(weight))
            check_histogram(scores[f"scores_log10/{name}", 0], np.log10(np.abs(weight)))
        else:  # drawn from 0 to 1
            assert scores[f"scores/{name}", 0][-1, 1] <= 1
    with (result.folder / "density.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["weight"]: (int(row["kept"]), int(row["of"])) for row in rows} == result.masks.counts
    with (result.folder / "metrics" / "training_weights.csv").open(newline="") as file:
        found = {row["weight"]: float(row["density"]) for row in csv.DictReader(file)}
    assert found == {name: kept / size for name, (kept, size) in result.masks.counts.items()}
    events = read_events(result.folder / "events" / "training")
    for name, density in found.items():
        assert float(events[f"density/{name}", 4]) == pytest.approx(density)


def test_dense(tiny_world):
    result = tiny_world.dense()
    assert not (result.folder / "metrics" / "training_weights.csv").exists()
    assert result.masks.density == 1
    assert not (result.folder / "ticket.npz").exists()


@pytest.mark.slow
def test_sanity_checks_keep_counts(tiny_world):
    plain = tiny_world(ticket="magnitude", epochs=1)
    for check in ("rearrange", "inverse", "shuffle_weights", "reinitialize"):
        changed = tiny_world(check, ticket="magnitude", epochs=1, **{check: True})
        assert changed.masks.counts == plain.masks.counts
        assert (changed.masks == plain.masks) is (check in ("shuffle_weights", "reinitialize"))
        check_zeros(changed)
        first, start = (Ticket.load(each.folder / "ticket.npz").weights for each in (plain, changed))
        kept = plain.masks["conv1/kernel"]
        before, after = first["conv1/kernel"], start["conv1/kernel"]
        if check == "shuffle_weights":
            assert (before[kept] != after[kept]).mean() > 0.9
            np.testing.assert_array_equal(np.sort(before[kept]), np.sort(after[kept]))
        else:
            assert np.array_equal(before, after) is (check != "reinitialize")


@pytest.mark.slow
def test_corrupted_data_prune_and_clean_ones_train(tiny_world):
    plain = tiny_world(ticket="snip")
    corrupted = tiny_world("corrupted", ticket="snip", random_labels=True, shuffle_pixels=True, fraction=0.5)
    assert corrupted.masks != plain.masks
    both = [tiny_world(f"random{corrupt}", random_labels=True, corrupt=corrupt) for corrupt in ("pruning", "training")]
    assert both[0].masks == both[1].masks
    weights = [np.asarray(each.model.get_layer("fc").kernel) for each in both]
    assert (weights[0] != weights[1]).any()


@pytest.mark.slow
def test_lottery_by_way_of_files(tiny_world):
    dense = tiny_world.dense()
    lottery = tiny_world("lottery", ticket="lottery", init=str(dense.folder / "trained.keras"), epochs=1)
    rewound = tiny_world(
        "rewound",
        ticket=str(lottery.folder / "masks.npz"),
        init=str(dense.folder / "initial.keras"),
    )
    assert rewound.masks == lottery.masks
    start = Ticket.load(rewound.folder / "ticket.npz").weights["conv1/kernel"]
    np.testing.assert_array_equal(start, kernels(dense.folder / "initial.keras")["conv1/kernel"])
    again = tiny_world("again", ticket=str(rewound.folder / "ticket.npz"))
    np.testing.assert_array_equal(np.asarray(again.model.get_layer("fc").kernel), rewound.model.get_layer("fc").kernel)


@pytest.mark.parametrize("rewind", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_iterative(tiny_world, rewind):
    result = tiny_world(ticket="iterative", density=0.25, rewind_epoch=rewind)
    rounds = [Masks.load(result.folder / f"masks_round{number}.npz") for number in (1, 2)]
    assert [masks.kept for masks in rounds] == [TOTAL // 2, TOTAL // 4]
    assert (rounds[0] & rounds[1]) == rounds[1] == result.masks
    check_zeros(result)
    start = Ticket.load(result.folder / "ticket.npz").weights["conv1/kernel"]
    first = kernels(result.folder / "initial.keras")["conv1/kernel"]
    assert np.array_equal(start, first) is (rewind == 0)
    scores = read_events(result.folder / "events" / "scores")
    assert {step for _, step in scores} == {1, 2}
    largest = scores["scores/conv1/kernel", 1]
    kept = rounds[0]["conv1/kernel"].sum()
    assert largest[:, 2].sum() == 9 * 8 * 12 > kept
    densities = read_events(result.folder / "events" / "round2")
    for name, (kept, size) in rounds[0].counts.items():  # round 2 trains what round 1 left
        assert float(densities[f"density/{name}", 4 * (2 - rewind)]) == pytest.approx(kept / size)


def test_resume_gives_the_same(tiny_world, monkeypatch):
    whole = tiny_world(ticket="iterative", rewind_epoch=1)
    again = tiny_world(ticket="iterative", rewind_epoch=1, resume=True)
    for one, other in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert whole.masks == again.masks
    with pytest.raises(RunFolderError):
        tiny_world(ticket="iterative", rewind_epoch=1)


def test_smart_ratio_is_that_of_the_criterion(tiny_world):
    result = tiny_world(seed=3, epochs=1)
    initial = keras.saving.load_model(result.folder / "initial.keras")
    assert result.masks == SmartRatio(seed=3)(initial, 0.3)


def test_ticket_of_another_network(tiny_world, tmp_path):
    Masks({"conv0/kernel": np.ones((3, 3, 1, 9))}).save(tmp_path / "other.npz")
    with pytest.raises(ConfigError, match="conv0/kernel"):
        tiny_world(ticket=str(tmp_path / "other.npz"))
    Masks({"conv7/kernel": np.ones((3, 3, 1, 8))}).save(tmp_path / "foreign.npz")
    with pytest.raises(ConfigError, match="conv7/kernel"):
        tiny_world(ticket=str(tmp_path / "foreign.npz"))
    with pytest.raises(CheckpointError, match=r"cannot read .*none\.npz: No such file"):
        tiny_world(ticket=str(tmp_path / "none.npz"))
    assert not (tmp_path / "run").exists()


def test_gradients_reach_all_branches_of_a_new_model():
    shape = {"num_classes": 10, "input_shape": (8, 8, 1)}
    dense = Dense(TicketConfig(arch="ResNet-20", batch_size=1), load_data("digits"))
    network = dense.new_model(seed=0)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 21
    assert all((np.asarray(layer.gamma) == 1).all() for layer in norms)
    assert not np.asarray(build_model("ResNet-20", **shape).get_layer("block0.0_bn2").gamma).any()
