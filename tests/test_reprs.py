"""The `repr` of everything that a user gets back is a line or two, whatever it holds."""

import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path

import keras
import numpy as np
import pytest

import tfprune
from tfprune.criteria import WeightCriterion, weight_criterion
from tfprune.masks import Ticket
from tfprune.report import model_report, summarize
from tfprune.reprs import described, short
from tfprune.search import search
from tfprune.settings import Settings

PACKAGE = Path(__file__).parents[1] / "tfprune"
# Annotations of fields that may hold a lot.
LARGE = re.compile(r"ndarray|Mapping|dict|Sequence|Model|Tensor|Groups|Masks|tuple\[(?!Any)\w+(\[.*\])?, \.\.\.\]")


def dataclasses_of_the_package():
    for file in sorted(PACKAGE.rglob("*.py")):
        module = import_module(".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts)))
        for each in vars(module).values():
            if inspect.isclass(each) and dataclasses.is_dataclass(each) and each.__module__ == module.__name__:
                yield each


RESULTS = [
    each
    for each in dataclasses_of_the_package()
    if not each.__name__.startswith("_") and not issubclass(each, Settings | WeightCriterion)
]
# Small ones: registrations and settings, of a few names or numbers each.
SMALL = {"Appearance", "BatchRequest", "Cluster", "Format", "KernelLayer", "L1", "L2", "KernelNorm", "ResNet"}
SMALL |= {"WideResNet", "Wrapper", "ModelOptions", "ChannelGroup", "RegisteredMethod", "AnyProduct", "Conv2DProduct"}
SMALL |= {"DenseProduct", "Expected", "Setting", "Treatment", "Width", "WidthConstraints"}


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_what_can_be_large_has_a_repr_of_its_own(kind):
    large = [each.name for each in dataclasses.fields(kind) if each.repr and LARGE.search(str(each.type))]
    generated = hasattr(kind.__repr__, "__wrapped__")
    assert not (large and generated) or kind.__name__ in SMALL


@pytest.fixture(scope="module")
def results():
    """One of each of what the library returns, for MobileNetV2; of the search, for a small model."""
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=10, alpha=0.35)
    groups = tfprune.channel_groups(model)
    plan = tfprune.plan_channels(model, flops=0.5, round_to=8)
    masks = weight_criterion("magnitude", scope="local")(model, density=0.5)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    net = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    data = np.random.default_rng(0).random((12, 8, 8, 1), np.float32), np.arange(12) % 3
    found = search(net, data, flops=0.8, progress=False)
    return {
        "groups": groups,
        "layer": groups.by_layer["Conv_1"],
        "call": groups.calls[3],
        "slot": groups.slots["Conv_1"][0],
        "plan": plan,
        "group plan": plan.groups[0],
        "masks": masks,
        "ticket": Ticket.from_model(masks, model),
        "complexity": tfprune.complexity(model),
        "report": model_report(model),
        "summary": summarize(model, latency=False),
        "search": found,
        "sub-network": found.history[0],
    }


KINDS = ["groups", "layer", "call", "slot", "plan", "group plan", "masks", "ticket", "complexity", "report", "summary"]
KINDS += ["search", "sub-network"]


@pytest.mark.parametrize("kind", KINDS)
def test_results_of_a_real_model_are_short(results, kind):
    shown = repr(results[kind])
    assert shown.startswith(type(results[kind]).__name__ + "(")
    assert len(shown) <= 300
    assert shown.count("\n") <= 3


def test_what_the_reprs_say(results):
    assert repr(results["groups"]).startswith("ChannelGroups(25 groups, ")
    assert repr(results["plan"]) == str(results["plan"])
    assert repr(results["masks"]).startswith("Masks(")
    assert "MobileNet" in repr(results["summary"]) or "mobilenet" in repr(results["summary"])


def test_values_are_shortened():
    assert short({"a": list(range(9))}) == "{'a': [0, 1, 2, ...]}"
    assert short(np.zeros((30, 40))) == "ndarray of shape (30, 40)"
    assert described("x" * 500).endswith(" (str)")
    assert len(described("x" * 500)) < 80
