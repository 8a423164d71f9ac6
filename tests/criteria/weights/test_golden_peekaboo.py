"""Scores and masks of the original Peek-a-Boo code."""

import warnings

import numpy as np
import pytest

from tests.criteria.weights.golden_nets import peekaboo_data, peekaboo_model
from tests.recipes.models.torch_names import to_keras
from tfprune.criteria import LayerCollapseWarning, weight_criterion

NAMES = {"Mag": "magnitude", "SNIP": "snip", "GraSP": "grasp", "SynFlow": "synflow"}
VARIANTS = ("A1", "A2", "A3", "A4", "A5")
CASES = [(variant, pruner) for variant in VARIANTS for pruner in NAMES]
CASES += [("A2", f"SynFlow_{kind}") for kind in ("linear20", "local20", "iters1")]
CASES += [("A2", f"{pruner}_local") for pruner in ("Mag", "SNIP", "GraSP")]
CASES += [("A2", f"{pruner}_iters10") for pruner in ("SNIP", "GraSP")]
CASES += [("A1", f"{pruner}_2batches") for pruner in ("SNIP", "GraSP")]
QUICK = {("A2", case) for _, case in CASES} | {("A3", "SynFlow"), ("A3", "GraSP"), ("A5", "SynFlow")}
EVERY = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]


def settings(variant, case):
    pruner, _, kind = case.partition("_")
    iterations = {"": 100, "linear20": 20, "local20": 20, "iters1": 1}[kind] if pruner == "SynFlow" else 1
    return NAMES[pruner], {
        "iterations": 10 if kind == "iters10" else iterations,
        "schedule": "linear" if kind.startswith("linear") else "exponential",
        "scope": "local" if kind.startswith("local") else "global",
        "ignore": ("linear",) if variant == "A1" else (),
        "original_ties": True,
        "revive": True,
        **({"variant": "peekaboo"} if pruner == "GraSP" else {}),
    }


def batches(golden, case):
    if case.startswith("Mag"):
        return None
    x, y = peekaboo_data(golden)
    return [(x[:8], y[:8]), (x[8:], y[8:])] if case.endswith("2batches") else [(x, y)]


def weights_of(golden, variant):
    return ("conv1", "conv2", "conv3", *(() if variant == "A1" else ("linear",)))


def divisor(pruner, scores, batches):
    """The originals divide the scores of SNIP and GraSP by their sum.

    Theirs sum over batches, where ours are means, so both factors of a score of GraSP are as many times larger.
    """
    total = sum(score.sum() for score in scores.values())
    return {"SNIP": total, "GraSP": abs(total) + 1e-10 / batches**2}.get(pruner, 1.0)


@pytest.mark.parametrize(("variant", "case"), EVERY)
def test_scores(golden_peekaboo, variant, case):
    name, options = settings(variant, case)
    criterion = weight_criterion(name, **options)
    data = batches(golden_peekaboo, case)
    scores = criterion.weight_scores(peekaboo_model(golden_peekaboo, variant), None, data)
    norm = divisor(case.partition("_")[0], scores, len(data or [None]))
    assert list(scores) == [f"{layer}/kernel" for layer in weights_of(golden_peekaboo, variant)]
    for layer in weights_of(golden_peekaboo, variant):
        expected = to_keras(golden_peekaboo[f"a/{variant}/{case}/score_iter1/{layer}.weight"])
        largest = np.abs(expected).max()
        np.testing.assert_allclose(scores[f"{layer}/kernel"] / norm, expected, rtol=1e-9, atol=1e-13 * largest)


@pytest.mark.parametrize(("variant", "case"), EVERY)
def test_masks(golden_peekaboo, variant, case):
    name, options = settings(variant, case)
    model = peekaboo_model(golden_peekaboo, variant)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerCollapseWarning)
        masks = weight_criterion(name, **options)(model, 0.3, batches(golden_peekaboo, case))
    assert masks.kept == golden_peekaboo[f"a/{variant}/{case}/kept_per_iter"][-1]
    for layer in weights_of(golden_peekaboo, variant):
        np.testing.assert_array_equal(
            masks[f"{layer}/kernel"], to_keras(golden_peekaboo[f"a/{variant}/{case}/mask/{layer}.weight"])
        )
    ties = golden_peekaboo.get(f"a/{variant}/{case}/ties_per_iter")
    if ties is not None and (ties == 1).all() and "iters10" not in case:
        exact = weight_criterion(name, **options | {"original_ties": False, "revive": False})
        assert exact(model, 0.3, batches(golden_peekaboo, case)) == masks
