"""Every parameter of every public function and class is given what it does not take, and what it should.

The parameters come from the signatures. `VALID` has arguments for each function that needs some; a new public function
without a row fails. Data, models of any kind and paths have tests of their own (`test_wrong_types`, `test_outputs`);
what users write themselves (`between`, losses) and NumPy arrays of scores are not tried here.
"""

import inspect
from fractions import Fraction

import keras
import numpy as np
import pytest
from rich.console import Console

import tfprune
from tests.arguments import FILE, wrong_answers
from tests.models import dense_chain
from tfprune import dpp, landscape, ops, optimizers, search
from tfprune.masks import Masks

layers = keras.layers


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


def measuring_rows():
    """Returns the rows of what runs a model on data: landscapes and searches."""
    model = dense_chain(4, (4, 2), activation="relu")
    groups = tfprune.channel_groups(model)
    images, labels = np.ones((8, 4), np.float32), np.arange(8) % 2
    given = {"model": model, "data": (images, labels)}
    few = landscape.LandscapeSettings(directions=1, points=3, products=3)
    curve = landscape.Section(np.array([-1.0, 0.0, 1.0]), np.ones((1, 3)), 1.0, "batch", 8, 0)
    ends = landscape.Curvature(0.0, 1.0, 0.0, 3, 1.0, 9, 8, "batch", 0)
    return {
        landscape.LandscapeSettings: {},
        landscape.Section.load: {"path": FILE},
        landscape.Section.save: {"self": curve, "path": FILE},
        landscape.Section.table: {"self": curve},
        landscape.Section.plot: {"self": curve, "path": FILE},
        landscape.Curvature.table: {"self": ends},
        landscape.Landscape.table: {"self": landscape.Landscape(curve, ends)},
        landscape.Landscape.plot: {"self": landscape.Landscape(curve), "path": FILE},
        landscape.curvature: given | {"products": 3, "progress": False},
        landscape.measure: given | {"settings": few, "progress": False},
        landscape.section: given | {"directions": 1, "points": 3, "progress": False},
        search.Gates: {"groups": groups, "search_step": 0.5},
        search.SubNetworks: {"model": model, "groups": groups},
        search.Supernet: {"model": MODEL},
        search.Search: {"model": model, "images": images, "labels": labels, "target": 0.9},
        search.search: given | {"flops": 0.9, "examples": 8, "progress": False},
        tfprune.exporting.plain_model: {"model": model},
        tfprune.exporting.load_packed: {"path": FILE},
        tfprune.exporting.read_packed_record: {"path": FILE},
        tfprune.exporting.record_text: {"record": {}},
        tfprune.exporting.TFLiteFile: {"path": FILE},
    }


CRITERIA = [getattr(tfprune.criteria, name) for name in tfprune.criteria.__all__ if is_criterion(name)]
VALID = {
    tfprune.channel_groups: {"model": MODEL},
    tfprune.complexity: {"model": MODEL},
    tfprune.convert: {"model": MODEL, "family": "masked"},
    tfprune.masks_of: {"model": MODEL},
    tfprune.prunable_weights: {"model": MODEL},
    tfprune.residual_blocks: {"model": MODEL},
    tfprune.functional_model: {"model": MODEL},
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
VALID |= package_rows() | measuring_rows()
SLOW = {
    *(tfprune.prune_channels, tfprune.save_model, tfprune.export, tfprune.measure_latency),
    *(dpp.KDPP.sample, dpp.LEnsemble.sample),
}


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

MADE_INSIDE = {
    "OwnWeight",
    *("OrderParameters", "Alignment", "Spectrum", "dppy_draws", "Nonlinearity", "BatchNorm"),
    *("Curvature", "Landscape", "Section", "UnconvergedWarning"),
    *("Candidate", "SearchResult", "SearchState", "Step", "SubNetwork"),
    *("Format", "PackedSize", "TensorInfo", "FORMATS", "QUANTIZATIONS"),
}
"""Results that functions with a row make, types, and the draws of a library that is installed for benchmarks."""

WRITERS = {"add_record", "export_onnx", "export_packed", "export_saved_model", "export_tflite"}
"""What `export` calls with the arguments that it is given."""


@pytest.mark.parametrize(
    "package",
    [ops, tfprune.layers, optimizers, dpp, landscape, search, tfprune.exporting],
    ids=lambda each: each.__name__,
)
def test_every_public_name_of_a_package_has_a_row(package):
    public = {name: getattr(package, name) for name in package.__all__}
    missing = {name for name, each in public.items() if not callable(each) or each not in VALID}
    rows = {
        "KernelLayer",
        "register_kernel_layer",
        "global_selection",
    }  # test_wrong_types; a context of a training step
    assert missing <= TENSORS | AS_IN_KERAS | MADE_INSIDE | WRITERS | rows


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
