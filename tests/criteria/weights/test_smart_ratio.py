import hashlib
import warnings
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.recipes.models.test_golden_random_tickets import build, recipe
from tests.recipes.models.torch_names import kernel_names, load_torch_state, to_keras
from tfprune.criteria import Hybrid, Lottery, SmartRatio, SmartRatioWarning, smart_ratios, weight_criterion
from tfprune.errors import ConfigError
from tfprune.graph import main_path_order

BAD = {"init": "ones", "classifier_init": "ones"}
RULES = ("quadratic", "linear_decay", "ascend", "cubic", "uniform")


@pytest.fixture(scope="module")
def resnet8(golden_random_tickets):
    model = build("resnet8", 10, **BAD)
    return load_torch_state(model, recipe(golden_random_tickets["state/resnet8"], 21, 10))


def ours(golden, net, model, classes=10):
    return list(kernel_names(model, [f"{name}.weight" for name in golden[f"layers/{net}/c{classes}/name"]]).values())


def unpacked(golden, key, model):
    weights = main_path_order(model)
    bits = np.unpackbits(golden[key])
    masks = {}
    for name, weight in weights.items():
        shape = tuple(weight.shape)
        theirs = (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]
        size = int(np.prod(shape))
        masks[name], bits = to_keras(bits[:size].reshape(theirs)).astype(bool), bits[size:]
    return masks


@pytest.mark.parametrize("net", ["resnet8", "resnet32", "resnet56", "vgg19_bn"])
def test_counts_on_our_networks(golden_random_tickets, net):
    golden = golden_random_tickets
    model = build(net, 10, **BAD)
    found = SmartRatio(original_quirks=True).ratios(model, 1 - 0.98)
    assert list(found) == ours(golden, net, model)
    assert [count for _, count in found.values()] == golden[f"smart/{net}/c10/p0.98/keep"].tolist()


def test_random_places(resnet8):
    first, same, other = (SmartRatio(seed=seed)(resnet8, 0.1) for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert first.counts == other.counts
    assert {name: kept for name, (kept, _) in first.counts.items()} == {
        name: count for name, (_, count) in SmartRatio().ratios(resnet8, 0.1).items()
    }
    kernel = first["block2.0_conv1/kernel"]
    assert abs(kernel[:, :, : kernel.shape[2] // 2].sum() / kernel.sum() - 0.5) < 0.05


@pytest.mark.parametrize("removed", ["0.9", "0.98"])
def test_hybrid_is_the_original(golden_random_tickets, resnet8, removed):
    masks = Hybrid(original_quirks=True)(resnet8, 1 - float(removed))
    for name, mask in unpacked(golden_random_tickets, f"hybrid/resnet8/p{removed}/maskbits", resnet8).items():
        np.testing.assert_array_equal(masks[name], mask, err_msg=name)


@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
@pytest.mark.parametrize("removed", ["0.5", "0.9", "0.98"])
def test_lottery_is_the_original(golden_random_tickets, resnet8, removed):
    masks = Lottery(original_quirks=True)(resnet8, 1 - float(removed))
    for name, mask in unpacked(golden_random_tickets, f"lt/resnet8/p{removed}/maskbits", resnet8).items():
        np.testing.assert_array_equal(masks[name], mask, err_msg=name)
    exact = Lottery()(resnet8, 1 - float(removed))
    assert exact.kept == masks.kept + 1
    assert exact["fc/kernel"].all()
    assert (exact & masks) == masks


@pytest.mark.slow
def test_lottery_of_vgg19(golden_random_tickets):
    golden = golden_random_tickets
    model = load_torch_state(build("vgg19_bn", 10, **BAD), recipe(golden["state/vgg19_bn"], 22, 10))
    for removed in ("0.9", "0.95", "0.98"):
        masks = Lottery(original_quirks=True)(model, 1 - float(removed))
        key = f"lt/vgg19_bn/p{removed}"
        assert [masks.counts[name][0] for name in main_path_order(model)] == golden[f"{key}/keep"].tolist()
        flat = [
            mask.transpose((3, 2, 0, 1) if mask.ndim == 4 else (1, 0)).ravel()
            for mask in (masks[name] for name in main_path_order(model))
        ]
        bits = np.packbits(np.concatenate(flat))
        assert hashlib.sha256(bits.tobytes()).hexdigest() == str(golden[f"{key}/mask_sha256"])


def test_treatment():
    x = keras.Input((8,))
    y = keras.layers.Dense(8)(keras.layers.Dense(8)(keras.layers.Dense(8)(x)))
    chain, residual = keras.Model(x, y), keras.Model(x, y + keras.layers.Dense(8)(x))
    for model, automatic in ((chain, "chain"), (residual, "residual")):
        by_hand = {which: SmartRatio(treatment=which).ratios(model, 0.3) for which in ("auto", "chain", "residual")}
        assert by_hand["auto"] == by_hand[automatic]
        assert by_hand["chain"] != by_hand["residual"]


def test_density_that_cannot_be_met():
    x = keras.Input((8,))
    model = keras.Model(x, keras.layers.Dense(10)(keras.layers.Dense(8)(x)))
    with pytest.warns(SmartRatioWarning, match="no layer can meet"):
        masks = SmartRatio()(model, 1.0)
    assert masks.kept == 64 + 24
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SmartRatio(last_ratio=1.0)(model, 1.0).density == 1


@pytest.mark.parametrize(
    "settings", [{"rule": "x"}, {"treatment": "x"}, {"last_ratio": 1.5}, {"iterations": 2}, {"scope": "local"}]
)
def test_bad_settings(settings):
    with pytest.raises(ConfigError):
        weight_criterion("smart_ratio", **settings)


@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
def test_lottery_that_would_empty_more_than_the_convolutions(resnet8):
    with pytest.raises(ConfigError, match="layers='all'"):
        Lottery()(resnet8, 0.001)
    assert Lottery(layers="all")(resnet8, 0.01).kept == 3073


def test_counts_and_ratios_of_the_original(golden_random_tickets):
    golden = golden_random_tickets
    cases = [key.removesuffix("/keep") for key in golden if key.startswith("smart/") and key.endswith("/keep")]
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
            theirs = golden[f"{case}/keep"]
            if quirks:
                np.testing.assert_array_equal(found.counts, theirs, err_msg=case)
                assert found.goal == golden[f"{case}/goal_test_k"][0], case
                np.testing.assert_array_equal(found.ratios[:-1], golden[f"{case}/ratio"][:-1], err_msg=case)
            else:  # as many as the density says, each layer within one of the authors' number
                total = int(golden[f"layers/{net}/{classes}/num"].sum())
                assert found.counts.sum() == total - int(Fraction(removed[1:]) * total), case
                assert np.abs(found.counts - theirs).max() <= 1, case
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
    assert 0 <= found.counts[-1] - last * sizes[-1] < 1 + 1e-9
    assert found.counts[:-1].sum() + found.missing == found.goal
    if found.missing:
        assert found.counts[:-1].sum() == sum(sizes[:-1])


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
