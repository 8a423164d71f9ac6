import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfprune.criteria import smart_ratios
from tfprune.errors import ConfigError

RULES = ("quadratic", "linear_decay", "ascend", "cubic", "uniform")


def test_counts_and_ratios_of_the_original(golden_random_tickets):
    golden = golden_random_tickets
    cases = [key.removesuffix("/keep") for key in golden.files if key.startswith("smart/") and key.endswith("/keep")]
    assert len(cases) == 40
    for case in cases:
        _, net, classes, removed, *rule = case.split("/")
        for quirks in (False, True):
            found = smart_ratios(
                golden[f"layers/{net}/{classes}/num"].tolist(),
                1 - float(removed[1:]),
                rule=rule[0] if rule else "quadratic",
                divide_by_square=not net.startswith("resnet"),
                original_quirks=quirks,
            )
            np.testing.assert_array_equal(found.counts, golden[f"{case}/keep"], err_msg=case)
            np.testing.assert_array_equal(found.ratios[:-1], golden[f"{case}/ratio"][:-1], err_msg=case)
            assert found.goal == golden[f"{case}/goal_test_k"][0], case
            assert not found.missing


@example(sizes=[1] * 6, density=0.5, rule="quadratic", divide=True, last=0.0)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=2, max_size=30),
    density=st.floats(0.01, 1),
    rule=st.sampled_from(RULES),
    divide=st.booleans(),
    last=st.floats(0, 1),
)
def test_counts_are_possible_for_any_layers(sizes, density, rule, divide, last):
    try:
        found = smart_ratios(sizes, density, rule=rule, divide_by_square=divide, last_ratio=last)
    except ConfigError:
        return
    assert (found.counts <= sizes).all()
    assert (found.counts >= 0).all()
    assert found.counts[-1] == int(last * sizes[-1])
    kept = int(found.counts[:-1].sum())
    # Room is counted in whole weights, rounded down: each layer that is filled up may hold one more than it was given.
    assert kept <= found.goal + len(sizes)
    if found.missing:
        assert kept == sum(sizes[:-1])


def test_excess_of_later_layers_is_handed_on_but_by_the_original():
    sizes = [1000, 1000, 10, 10]
    ours = smart_ratios(sizes, 0.6, rule="ascend", divide_by_square=False)
    theirs = smart_ratios(sizes, 0.6, rule="ascend", divide_by_square=False, original_quirks=True)
    assert ours.clipped == theirs.clipped != ()
    assert theirs.counts.sum() < ours.counts.sum()
    assert 0.6 * sum(sizes) - ours.counts.sum() <= 8


def test_a_density_that_no_layer_can_meet_is_clipped_and_said():
    found = smart_ratios([10, 20, 100], 1.0)
    assert found.counts.tolist() == [10, 20, 30]
    assert found.missing == found.goal - 30 == 70


@pytest.mark.parametrize(
    "arguments", [([10], 0.5), ([10, 0], 0.5), ([10, 10], 0.0), ([10, 10], 1.1), ([1, 1000], 0.01)]
)
def test_bad_numbers(arguments):
    with pytest.raises(ConfigError, match="expected"):
        smart_ratios(*arguments)
