"""Every parameter of every public function and class is given what it does not take, and what it should.

The parameters come from the signatures. `VALID` has arguments for each function that needs some; a new public function
without a row fails. Data, models of any kind and paths have tests of their own (`test_wrong_types`, `test_outputs`);
what users write themselves (`between`, losses) and NumPy arrays of scores are not tried here.
"""

import decimal
import enum
import inspect
import warnings
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

import tfprune
from tfprune import dpp, ops, optimizers
from tfprune.errors import TfpruneError
from tfprune.masks import Masks

layers = keras.layers


class Word(enum.Enum):
    """A value of no use."""

    A = 1


def endless():
    while True:
        yield "x"


class NoRepr:
    """A value that fails when it is shown."""

    def __repr__(self):
        raise RuntimeError("no")


POOL = [
    *(None, True, False, 0, 1, -1, 3, 2**31, -(2**63), 10**22, 10**400, 0.5, -0.5, 1.5, 1e308),
    *(float("nan"), float("inf"), float("-inf"), np.float32(0.5), np.int64(8), np.float64("nan"), np.bool_(True)),
    *(Fraction(1, 2), decimal.Decimal("0.5"), 1j, "", "x", "global", "a\n\x1b[31mb\0", "y" * 5000, b"x", "\udcff"),
    *([], (), {}, set(), [0.5], (8, 8), ["a"], ("a", None), {"a": 0.5}, {"a": "x"}, {1: 2}, [[]], [[1], [2, 3]]),
    *(np.zeros(0), np.array(0.5), np.ones((2, 2)), np.array([None]), np.array(["a"]), range(3), iter("ab"), slice(1)),
    *(keras.Model, keras.layers.Dense, layers.Dense(2), print, lambda: 0, object(), type, Word.A, Path("no/such"), ...),
]


def small_model():
    stack = [keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.Flatten(name="f")]
    return keras.Sequential([*stack, layers.Dense(2, name="out")], name="net")


@pytest.fixture(scope="module")
def model():
    return small_model()


def is_criterion(name):
    found = getattr(tfprune.criteria, name)
    return inspect.isclass(found) and hasattr(found, "uses_data") and name not in ("Criterion", "WeightCriterion")


MODEL = small_model()
MASKS = Masks({"conv/kernel": np.ones((3, 3, 3, 8), bool), "out/kernel": np.ones((288, 2), bool)})
PLAN = tfprune.plan_channels(MODEL, "l2", density=0.5)
QUIET = Console(quiet=True)
FILE = object()
"""Stands for the path of a file that does not exist yet."""


def package_rows():
    """Returns the rows of the packages below `tfprune`, by function."""
    kernel, scores = np.eye(4), np.linspace(0.1, 1.0, 4, dtype=np.float32)
    teacher = dpp.Committee(np.ones((2, 4)), np.ones(2))
    return {
        ops.PSGSettings: {},
        ops.keep_limit: {"channels": 8, "rate": 0.5},
        ops.rank_scores: {"scores": scores},
        tfprune.layers.FusedBatchNormalization: {},
        tfprune.layers.FrozenBatchNormalization: {},
        tfprune.layers.ScoredBatchNormalization: {},
        tfprune.layers.SubnetDense: {"units": 2},
        tfprune.layers.SubnetConv2D: {"filters": 2, "kernel_size": 1},
        tfprune.layers.SubnetDepthwiseConv2D: {"kernel_size": 1},
        tfprune.layers.PSGDense: {"units": 2},
        tfprune.layers.PSGConv2D: {"filters": 2, "kernel_size": 1},
        tfprune.layers.PSGDepthwiseConv2D: {"kernel_size": 1},
        tfprune.layers.MaskedLayer: {"layer": layers.Dense(2), "shapes": {"kernel": (3, 2)}},
        tfprune.layers.Kernel: {},
        tfprune.layers.collapsed_layers: {"model": MODEL},
        tfprune.layers.refresh_masks: {"model": MODEL},
        tfprune.layers.set_density: {"model": MODEL, "density": 0.5},
        tfprune.layers.subnet_layers: {"model": MODEL},
        tfprune.layers.kernel_layer: {"layer": layers.Dense(2)},
        tfprune.layers.unmasked: {"layer": layers.Dense(2)},
        optimizers.SGD: {},
        optimizers.Adam: {},
        optimizers.Bop: {},
        dpp.KDPP: {"kernels": kernel, "size": 2},
        dpp.KDPP.sample: {"self": dpp.KDPP(kernel, 2), "draws": 2, "seed": 0},
        dpp.KDPP.log_probability: {"self": dpp.KDPP(kernel, 2), "subsets": np.array([[[0, 1]]])},
        dpp.LEnsemble: {"kernels": kernel},
        dpp.LEnsemble.log_probability: {"self": dpp.LEnsemble(kernel), "masks": np.ones((1, 1, 4), bool)},
        dpp.LEnsemble.sample: {"self": dpp.LEnsemble(kernel), "draws": 2, "seed": 0},
        dpp.Spectrum.from_kernels: {"kernels": kernel},
        dpp.Committee: {"weights": np.ones((2, 4)), "outgoing": np.ones(2)},
        dpp.Committee.predict: {"self": teacher, "inputs": np.ones((3, 4))},
        dpp.Committee.masked: {"self": teacher, "mask": np.ones((2, 4), bool)},
        dpp.OrderParameters.from_committees: {"student": teacher, "teacher": teacher},
        dpp.Alignment.from_overlaps: {"overlaps": np.eye(2)},
        dpp.activation: {"name": "erf"},
        dpp.edge_kernels: {"weights": np.ones((2, 4)), "moments": kernel},
        dpp.expected_products: {
            "first": "erf",
            "second": "erf",
            "covariances": kernel,
            "first_variances": np.ones(4),
            "second_variances": np.ones(4),
        },
        dpp.generalization_error: {"student": teacher, "teacher": teacher},
        dpp.gram: {"inputs": np.ones((3, 4))},
        dpp.least_squares: {"among": kernel, "across": np.ones((4, 2))},
        dpp.node_kernel: {"weights": np.ones((2, 4)), "moments": kernel},
        dpp.random_edges_error: {"density": 0.5, "teacher_hidden": 2, "per_teacher": 3, "v_star": 1.0},
        dpp.rbf_edge_kernel: {"weights": np.ones((2, 4)), "moments": kernel, "beta": 1.0},
        dpp.rbf_node_kernel: {"weights": np.ones((2, 4)), "moments": kernel, "beta": 1.0},
        dpp.reweighted_edges: {"weights": np.ones((2, 4)), "mask": np.ones((2, 4), bool), "moments": kernel},
        dpp.reweighted_readers: {"outgoing": np.ones((1, 4)), "kept": np.ones(4, bool), "moments": kernel},
        dpp.transfer: {"moments": kernel, "kept": np.ones(4, bool)},
    }


CRITERIA = [getattr(tfprune.criteria, name) for name in tfprune.criteria.__all__ if is_criterion(name)]
VALID = {
    tfprune.channel_groups: {"model": MODEL},
    tfprune.complexity: {"model": MODEL},
    tfprune.convert: {"model": MODEL, "family": "masked"},
    tfprune.masks_of: {"model": MODEL},
    tfprune.prunable_weights: {"model": MODEL},
    tfprune.slim: {"model": MODEL, "mask": np.ones(8, bool)},
    tfprune.plan_channels: {"model": MODEL, "criterion": "l2", "density": 0.5},
    tfprune.prune_channels: {"model": MODEL, "criterion": "l2", "density": 0.5},
    tfprune.save_model: {"model": MODEL, "path": FILE},
    tfprune.export: {"model": MODEL, "path": FILE},
    tfprune.measure_latency: {"model": MODEL, "runs": 1, "warm_up": 1},
    tfprune.summary: {"model": MODEL, "latency": False, "console": QUIET},
    tfprune.Masks: {"arrays": {"a": np.ones(3, bool)}},
    tfprune.PruningHistory: {},
    tfprune.masks.Ticket: {"masks": MASKS, "weights": {}, "origin": {}},
    tfprune.pruning.PruningPlan.apply: {"self": PLAN},
    tfprune.pruning.PruningPlan.save: {"self": PLAN, "path": FILE},
    tfprune.pruning.PruningPlan.load: {"path": FILE},
    tfprune.pruning.PruningPlan.explain: {"self": PLAN},
    tfprune.PruningHistory.load: {"path": FILE},
    tfprune.Masks.save: {"self": MASKS, "path": FILE},
    tfprune.Masks.load: {"path": FILE},
    tfprune.masks.Ticket.load: {"path": FILE},
    tfprune.load_model: {"path": FILE},
    tfprune.load_checkpoint: {"path": FILE, "arch": None, "num_classes": 2, "input_shape": (8, 8, 3)},
    tfprune.exporting.read_record: {"path": FILE},
    tfprune.pruning.Budget: {"measure": "flops", "fraction": 0.5},
    tfprune.pruning.WidthConstraints: {},
    **{criteria: {} for criteria in CRITERIA},
}
VALID |= package_rows()
LATER = {
    "data",
    "between",
    "reweight",
    "recalibrate",
    "plans",
    "scores",
    "score_initializer",
    "loss",
    "images",
    "labels",
    "x",
    "y",
    "on_scores",
}
"""Parameters that take data, functions of the user, or objects that only tfprune makes."""


def parameters(function):
    """Names of the parameters that are tried."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = inspect.signature(function).parameters.values()
    return [each.name for each in found if each.kind not in kinds and each.name not in LATER and each.name != "self"]


def answer(call):
    """Returns what is wrong with the answer of a call; empty if it is accepted, or refused in one line of tfprune."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except TfpruneError as error:
            said = str(error)
            if not said.isprintable() or len(said) >= 400:
                return f"{len(said)} characters: {said[:200]}"
            if "expected" not in said and "cannot" not in said:
                return ""
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:150]}"
    return ""


SLOW = {
    *(tfprune.prune_channels, tfprune.save_model, tfprune.export, tfprune.measure_latency),
    *(dpp.KDPP.sample, dpp.LEnsemble.sample),
}
MANY = ("runs", "warm_up", "steps", "epochs", "iterations")
"""Parameters of which large numbers are right, and would be done."""


def wrong_answers(function, valid, folder):
    """Yields parameter, value and answer where the answer is not as it should be."""
    for name in parameters(function):
        for number, value in enumerate(POOL):
            given = {key: folder / f"{name}{number}.keras" if each is FILE else each for key, each in valid.items()}
            if name in MANY and not isinstance(value, bool) and isinstance(value, int | np.integer) and value > 3:
                continue
            if said := answer(lambda given=given | {name: value}: function(**given)):
                yield name, type(value).__name__, said


@pytest.mark.parametrize(
    "function",
    [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in VALID],
    ids=lambda each: each.__qualname__,
)
def test_wrong_values_are_answered_in_one_line(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(wrong_answers(function, VALID[function], tmp_path)) == []


ELSEWHERE = {
    "register_kernel_layer": "test_wrong_types",
    "register_rule": "test_wrong_types",
    "KernelLayer": "test_wrong_types",
    "export_saved_model": "test_wrong_types and test_outputs; it takes what save_model takes",
    "Criterion": "a protocol",
    "PruningPlan": "made by plan_channels",
}
"""Public names without a row, and where they are tried."""


TENSORS = {
    *("NormalizedBatch", "channel_mask", "fused_batch_norm", "gate", "gated_affine", "masked_kernel", "maximum"),
    *("mean_of_maxima", "normalize_with", "psg_gradient", "psg_product", "quantize", "synchronized_batch_norm"),
    "binary_activation",
}
"""Functions that layers call in traced steps: their tensors are those of the layer."""

AS_IN_KERAS = {
    *("BinaryActivation", "ChannelGate", "ChannelMaskedConv2D", "ChannelMaskedDense", "ChannelMaskedDepthwiseConv2D"),
    *("GlobalSubnet", "Masked", "MaskedConv1D", "MaskedConv2D", "MaskedConv3D", "MaskedDense", "MaskedDepthwiseConv2D"),
    *("MaskedWeights", "PSG", "Subnet"),
}
"""Layers that take what Keras' layers take, and bases of layers that have a row."""

MADE_INSIDE = {"OrderParameters", "Alignment", "Spectrum", "dppy_draws", "Nonlinearity"}
"""Results that functions with a row make, a type, and the draws of a library that is installed for benchmarks."""


@pytest.mark.parametrize("package", [ops, tfprune.layers, optimizers, dpp], ids=lambda each: each.__name__)
def test_every_public_name_of_a_package_has_a_row(package):
    public = {name: getattr(package, name) for name in package.__all__}
    missing = {name for name, each in public.items() if each not in VALID}
    rows = {
        "KernelLayer",
        "register_kernel_layer",
        "global_selection",
    }  # test_wrong_types; a context of a training step
    assert missing <= TENSORS | AS_IN_KERAS | MADE_INSIDE | rows


def test_every_public_function_has_a_row():
    public = {name: getattr(tfprune, name) for name in tfprune.__all__}
    tried = {name for name, each in public.items() if inspect.isfunction(each) or inspect.isclass(each)}
    missing = {name for name in tried if public[name] not in VALID}
    assert missing == ELSEWHERE.keys()
    assert len(CRITERIA) > 15


@pytest.mark.parametrize(
    "value", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)], ids=lambda each: type(each).__name__
)
def test_numbers_of_any_kind_are_taken(value, model):
    assert tfprune.plan_channels(model, "l2", density=value, max_sparsity=value).budget.fraction == 0.5


def test_lists_and_numpys_numbers_are_taken(model):
    plan = tfprune.plan_channels(model, "l2", density=0.5, round_to=np.int64(2), min_channels=np.int32(2), ignore=[])
    assert tfprune.pruning.PruningPlan.from_json(plan.to_json()) == plan
    assert tfprune.criteria.L2(roles=["out"]).scores(model, tfprune.channel_groups(model)).shape == (8,)
    assert tfprune.criteria.SynFlow(iterations=np.int64(2)).iterations == 2
