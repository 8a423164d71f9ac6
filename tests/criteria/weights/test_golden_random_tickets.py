"""Scores and masks of the original code of the random tickets: SNIP, and GraSP as its authors have it."""

import numpy as np
import pytest

from tests.criteria.weights.golden_nets import random_tickets_model, unpacked
from tests.recipes.models.torch_names import kernel_names, load_torch_state, to_keras
from tfprune.criteria import SNIP, GraSP
from tfprune.recipes.models import build_model

TINY = ("conv1", "conv2", "fc")


def tiny(golden, case, pruner):
    """The model, its data as batches, and the masks' sizes."""
    model = random_tickets_model(golden)
    if pruner == "grasp":  # what was drawn for the scores
        model.get_layer("fc").kernel.assign(to_keras(golden[f"tiny/{case}/grasp/reinit/fc"]))
    batch = golden[f"tiny/{case}/X"].transpose(0, 2, 3, 1), golden[f"tiny/{case}/y"]
    return model, [batch] * (3 if case.endswith("it3") else 1)


CRITERIA = {
    "snip": SNIP(batch_statistics=True),
    "grasp": GraSP(variant="wang", redraw_dense=False),
}


@pytest.mark.parametrize("pruner", CRITERIA)
@pytest.mark.parametrize("case", ["f64", "f64_it3"])
def test_scores_of_the_tiny_net(golden_random_tickets, case, pruner):
    key = f"tiny/{case}/{pruner}"
    model, data = tiny(golden_random_tickets, case, pruner)
    scores = CRITERIA[pruner].weight_scores(model, None, data)
    # Theirs are what goes, and of sums over batches and halves, where ours are of means: the gradient, and the product.
    factor = -((2 * len(data)) ** 2) if pruner == "grasp" else len(data)
    for layer in TINY:
        expected = to_keras(golden_random_tickets[f"{key}/score/{layer}"])
        np.testing.assert_allclose(
            factor * scores[f"{layer}/kernel"], expected, rtol=1e-9, atol=1e-13 * np.abs(expected).max()
        )


@pytest.mark.parametrize(
    ("case", "pruner", "sparsity"),
    [("f64", pruner, p) for pruner in CRITERIA for p in ("0.5", "0.8")]
    + [("f64_it3", pruner, "0.8") for pruner in CRITERIA],
)
def test_masks_of_the_tiny_net(golden_random_tickets, case, pruner, sparsity):
    key = f"tiny/{case}/{pruner}/p{sparsity}"
    model, data = tiny(golden_random_tickets, case, pruner)
    masks = CRITERIA[pruner](model, data=data, kept=int(golden_random_tickets[f"{key}/keep"].sum()))
    shapes = [golden_random_tickets[f"tiny/w/{layer}.weight"].shape for layer in TINY]
    for layer, mask in zip(TINY, unpacked(golden_random_tickets[f"{key}/maskbits"], shapes), strict=True):
        np.testing.assert_array_equal(masks[f"{layer}/kernel"], mask)


@pytest.mark.slow
@pytest.mark.parametrize("pruner", CRITERIA)
def test_masks_of_resnet8(golden_random_tickets, pruner):
    """The original computes in float32 here, so a few weights near the threshold may differ."""
    start = "resnet8/w/"
    state = {
        name.removeprefix(start): golden_random_tickets[name]
        for name in golden_random_tickets
        if name.startswith(start)
    }
    options = {"num_classes": 10, "input_shape": (32, 32, 3), "padding": "symmetric", "init": "ones"}
    model = load_torch_state(build_model("ResNet-8x2", **options), state)
    kernels = {name: array.shape for name, array in state.items() if array.ndim > 1}
    names = kernel_names(model, kernels)
    if pruner == "grasp":
        model.get_layer("fc").kernel.assign(to_keras(golden_random_tickets["resnet8/grasp/reinit/fc"]))
    data = [(golden_random_tickets["resnet8/X"].transpose(0, 2, 3, 1), golden_random_tickets["resnet8/y"])]
    for sparsity in ("0.9", "0.98"):
        key = f"resnet8/{pruner}/p{sparsity}"
        masks = CRITERIA[pruner](model, data=data, kept=int(golden_random_tickets[f"{key}/keep"].sum()))
        expected = unpacked(golden_random_tickets[f"{key}/maskbits"], kernels.values())
        wrong = sum(int((masks[ours] != mask).sum()) for ours, mask in zip(names.values(), expected, strict=True))
        assert wrong <= 20, (sparsity, wrong)
