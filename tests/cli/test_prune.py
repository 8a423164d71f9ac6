from typing import get_args, get_type_hints

import keras
import numpy as np
import pytest

from tests.models import residual_blocks_model
from tfprune import criteria
from tfprune.cli.main import main
from tfprune.cli.prune import run
from tfprune.cli.prune_config import PruneConfig
from tfprune.errors import CheckpointError, ConfigError, PruningError, RunFolderError
from tfprune.graph import complexity
from tfprune.pruning import SCHEDULES, PruningPlan, plan_channels


@pytest.fixture
def prune(folder, tmp_path, screen):
    """Prunes net.keras with the given settings; returns the model read from the file it wrote."""

    def pruned(model="net.keras", **settings):
        out = tmp_path / "small.keras"
        run(PruneConfig(**({"model": str(folder / model), "out": str(out)} | settings)), screen)
        return keras.saving.load_model(out)

    return pruned


def test_it_does_what_the_plan_says(prune, folder, tmp_path, screen):
    small = prune(flops=0.5, criterion="l1")
    plan = plan_channels(keras.saving.load_model(folder / "net.keras"), "l1", flops=0.5)
    images = np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
    np.testing.assert_allclose(small(images), plan.apply()(images), rtol=1e-6)
    assert complexity(small).flops == plan.after.flops <= 0.5 * plan.before.flops
    assert screen.lines[:-1] == [" ".join(line.split()) for line in plan.explain().splitlines() if line]
    out = tmp_path / "small.keras"
    assert screen.lines[-1].startswith(f"wrote {out}: ")
    assert screen.lines[-1].endswith(
        f"kB, {folder / 'net.keras'} has {(folder / 'net.keras').stat().st_size / 1e3:.1f} kB"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"params": 0.6},
        {"density": 0.5, "scope": "local"},
        {"density": 0.6, "round_to": 4},
        {"density": 0.8, "min_channels": 5},
        {"density": 0.7, "max_sparsity": 0.5},
        {"density": 0.7, "ignore": ("fc",)},
        {"density": 0.8, "keep_width": ("conv2",)},
        {"density": 0.5, "criterion": "random"},
    ],
)
def test_settings_arrive(prune, folder, settings):
    small = prune(**settings)
    model = keras.saving.load_model(folder / "net.keras")
    plan = plan_channels(model, **({"criterion": "l2"} | settings))
    widths = [small.get_layer(name).filters for name in ("conv", "conv2")]
    assert widths == [group.after for group in plan.groups]
    assert sum(widths) < 14


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"max_sparsity_of": ("conv2=0.1",)}, {"conv2": 0.1}),
        ({"max_sparsity_of": ("conv2=0.1", "*=0.8")}, {"conv2": 0.1, "*": 0.8}),
        ({"max_sparsity_of": ("conv2=0.1",), "max_sparsity": 0.75}, {"conv2": 0.1, "*": 0.75}),
    ],
)
def test_limits_of_single_layers(prune, folder, given, limits):
    small = prune(density=0.7, **given)
    plan = plan_channels(keras.saving.load_model(folder / "net.keras"), "l2", density=0.7, max_sparsity=limits)
    assert [small.get_layer(name).filters for name in ("conv", "conv2")] == [group.after for group in plan.groups]


def test_steps_are_recorded_and_replayed(prune, tmp_path, screen):
    path = str(tmp_path / "steps.json")
    small = prune(density=0.5, steps=2, plan=path)
    assert f"wrote the plans of the steps to {path}" in screen.lines
    again = prune(plan=path, overwrite=True)
    assert "the last of 2 steps:" in screen.lines
    for one, other in zip(small.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def residual(tmp_path):
    """A file of a model of three residual blocks, and one of examples for it."""
    model = residual_blocks_model(3, activation="relu", name="net")
    model.save(tmp_path / "residual.keras")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "images.npz", x=rng.random((20, 6, 6, 3), np.float32), y=np.arange(20) % 2)
    return model, {"model": str(tmp_path / "residual.keras"), "data": str(tmp_path / "images.npz")}


@pytest.mark.parametrize("widths", [{}, {"flops": 0.4}], ids=["depth", "both"])
@pytest.mark.parametrize("criterion", ["cosine", "loss"])
def test_residual_blocks_are_dropped(prune, residual, tmp_path, screen, widths, criterion):
    model, files = residual
    with np.load(files["data"]) as arrays:
        data = arrays["x"], arrays["y"]
    plan = plan_channels(model, depth=0.6, depth_criterion=criterion, data=data, **widths)
    small = prune(depth=0.6, depth_criterion=criterion, plan=str(tmp_path / "plan.json"), **files, **widths)
    np.testing.assert_allclose(small(data[0]), plan.apply()(data[0]), rtol=1e-5, atol=1e-6)
    assert any(line.endswith("dropped") for line in screen.lines)
    assert PruningPlan.load(tmp_path / "plan.json").dropped == plan.dropped
    again = prune(model=files["model"], plan=str(tmp_path / "plan.json"), overwrite=True)
    np.testing.assert_array_equal(again(data[0]), small(data[0]))


def test_residual_blocks_are_dropped_in_the_first_step(prune, residual, screen):
    small = prune(depth=0.6, depth_criterion="l1", steps=2, density=0.5, model=residual[1]["model"])
    assert len([layer for layer in small.layers if layer.name.startswith("add")]) == 2
    assert screen.lines[0].startswith("step 1 of 2: ")


@pytest.mark.parametrize("data", ["digits", "examples.npz"])
@pytest.mark.parametrize("criterion", ["taylor", "ekg", "flap", "ziplm"])
def test_criteria_that_look_at_data(prune, folder, data, criterion):
    data = str(folder / data) if data.endswith(".npz") else data
    small = prune(density=0.5, criterion=criterion, data=data, examples=40)
    assert small.get_layer("conv").filters + small.get_layer("conv2").filters == 7


def test_data_that_the_criterion_may_look_at(prune, folder):
    model = keras.saving.load_model(folder / "net.keras")
    examples = np.load(folder / "examples.npz")["x"]
    asked = {"density": 0.5, "criterion": "dpp_node"}
    with_data = prune(**asked, data=str(folder / "unlabelled.npz"))
    plan = plan_channels(model, criteria.DPPNode(), density=0.5, data=(examples, None))
    np.testing.assert_array_equal(
        with_data.get_layer("conv").kernel, np.asarray(model.get_layer("conv").kernel)[..., plan.keep["conv"]]
    )
    blind = plan_channels(model, criteria.DPPNode(), density=0.5)
    assert plan.keep != blind.keep
    settings = {"data": str(folder / "unlabelled.npz"), "recalibrate": True, "overwrite": True}
    assert prune(density=0.5, **settings).count_params() < model.count_params()  # by a criterion without data


def test_recalibration(prune, folder):
    plain = prune(density=0.5)
    settings = {"density": 0.5, "data": str(folder / "examples.npz"), "recalibrate": True, "overwrite": True}
    fresh = prune(**settings)
    with np.load(folder / "examples.npz") as arrays:
        images = arrays["x"]
    expected = np.asarray(fresh.get_layer("conv")(images)).mean((0, 1, 2))
    np.testing.assert_allclose(fresh.get_layer("bn").moving_mean, expected, atol=1e-3)
    assert np.abs(np.asarray(plain.get_layer("bn").moving_mean) - expected).max() > 1e-2
    np.testing.assert_array_equal(plain.get_layer("conv").kernel, fresh.get_layer("conv").kernel)


@pytest.mark.parametrize("steps", [1, 2])
def test_reweighting(prune, folder, steps):
    settings = {"density": 0.5, "steps": steps}
    plain = prune(**settings)
    better = prune(**settings, data=str(folder / "examples.npz"), reweight=True, overwrite=True)
    with np.load(folder / "examples.npz") as arrays:
        images = arrays["x"]
    whole = np.asarray(keras.saving.load_model(folder / "net.keras")(images))
    errors = [np.square(np.asarray(each(images)) - whole).mean() for each in (plain, better)]
    assert errors[1] < 0.5 * errors[0]
    if steps == 1:  # else the second step judges other kernels
        np.testing.assert_array_equal(plain.get_layer("conv").kernel, better.get_layer("conv").kernel)


@pytest.mark.filterwarnings("default")
def test_layers_that_are_not_reweighted_are_named(tmp_path, folder, capsys):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2DTranspose(2, 2, name="up")(keras.layers.Conv2D(4, 3)(inputs))
    keras.Model(inputs, x).save(tmp_path / "up.keras")
    data = str(folder / "examples.npz")
    files = [str(tmp_path / "up.keras"), str(tmp_path / "small.keras")]
    assert main(["prune", *files, "--density", ".5", "--data", data, "--reweight"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("warning: not reweighted: up (no least squares") for line in lines) == 1


def test_steps(prune, screen):
    small = prune(density=0.5, steps=3, schedule="exponential")
    assert small.get_layer("conv").filters + small.get_layer("conv2").filters == 7
    assert [line.partition(":")[0] for line in screen.lines[:3]] == [f"step {step} of 3" for step in (1, 2, 3)]
    assert "% of the FLOPs" in screen.lines[0]
    assert any(line.startswith("conv 8 ->") for line in screen.lines)


def test_a_plan_is_written_read_and_carried_out(prune, folder, tmp_path, screen):
    plan = tmp_path / "new" / "plan.json"
    model = str(folder / "net.keras")
    assert run(PruneConfig(model, density=0.5, plan=str(plan), dry_run=True), screen) is None
    assert screen.lines[-2:] == [f"wrote the plan to {plan}", "dry run: nothing was pruned"]
    assert list(tmp_path.rglob("*")) == [plan.parent, plan]
    small = prune(plan=str(plan))
    assert [small.get_layer(group.name).filters for group in PruningPlan.load(plan).groups] == [
        group.after for group in PruningPlan.load(plan).groups
    ]
    shown = screen.lines
    with pytest.raises(PruningError, match="does not fit"):
        prune("two.keras", plan=str(plan), overwrite=True)
    assert screen.lines == shown
    with pytest.raises(RunFolderError, match=r"plan.json exists"):
        run(PruneConfig(model, density=0.5, plan=str(plan), dry_run=True), screen)


def test_a_dry_run_needs_no_file_to_write(folder, screen):
    run(PruneConfig(str(folder / "net.keras"), density=0.5, dry_run=True), screen)
    assert screen.lines[-1] == "dry run: nothing was pruned"


def test_nothing_is_written_where_the_target_is_out_of_reach(prune, tmp_path):
    with pytest.raises(PruningError):
        prune(flops=0.001)
    assert list(tmp_path.iterdir()) == []


def test_open_sizes(prune, folder, screen):
    with pytest.raises(ConfigError, match=r"--flops: .* give --input_shape, such as 224 224 3, or --params instead"):
        prune("open.keras", flops=0.5)
    small = prune("open.keras", flops=0.5, input_shape=(8, 8, 1))
    assert small.input_shape == (None, None, None, 1)
    same = prune("net.keras", flops=0.5, overwrite=True)
    assert small.get_layer("conv").filters == same.get_layer("conv").filters
    assert not any("any size" in line for line in screen.lines)
    prune("open.keras", params=0.5, overwrite=True)
    assert any("The model takes inputs of any size" in line for line in screen.lines)
    with pytest.raises(ConfigError, match="--steps: "):
        prune("open.keras", flops=0.5, input_shape=(8, 8, 1), steps=2, overwrite=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {},
            "expected one of --flops, .*, such as --flops 0.5, received none; or --depth, or a --plan to apply",
        ),
        ({"flops": 0.5, "params": 0.5}, "received --flops and --params"),
        ({"flops": 1.5}, "--flops: expected a value above 0 and at most 1, received 1.5; half is 0.5"),
        ({"density": 0}, "--density: expected a value above 0 and at most 1, received 0"),
        ({"flops": 0.5, "max_sparsity": 0}, "--max_sparsity: expected a value above 0"),
        ({"flops": 0.5, "round_to": 0}, "--round_to: expected a value of at least 1, received 0"),
        ({"flops": 0.5, "out": None}, "OUT is missing: .*; or add --dry_run"),
        ({"flops": 0.5, "out": "small.tflite"}, "ends in .keras, received small.tflite; `tfprune export` writes"),
        ({"flops": 0.5, "criterion": "taylor"}, "--criterion taylor: it uses examples; give --data"),
        ({"flops": 0.5, "recalibrate": True}, "--recalibrate: .* give --data"),
        ({"flops": 0.5, "reweight": True}, "--reweight: .* give --data"),
        ({"flops": 0.5, "data": "digits"}, "--data: criterion l2 uses no .* out, or add --reweight or --recal"),
        ({"plan": "p.json", "criterion": "taylor", "data": "digits"}, "--data: a plan that is read uses no"),
        ({"flops": 0.5, "data_path": "folder"}, "--data_path: .* give --data"),
        ({"flops": 0.5, "criterion": "l3"}, "--criterion: expected one of l1, .*, dpp_edge, received l3; use one of"),
        ({"flops": 0.5, "plugin": ("no_such_module",)}, "cannot import the plugin no_such_module: ModuleNotFoundError"),
        ({"flops": 0.5, "steps": 2, "dry_run": True}, "--steps: a plan is made in one step"),
        ({"steps": 2, "plan": "p.json"}, "--steps: a plan that is read has its steps"),
        ({"flops": 0.5, "match": "position"}, "--match: it is for a plan that is read"),
        ({"plan": "p.json", "round_to": 8}, "--round_to: it would change the plan p.json"),
        ({"plan": "p.json", "ignore": ("conv",)}, "--ignore: it would change the plan p.json"),
        ({"plan": "p.json", "criterion": "l1"}, "--criterion: it would change the plan p.json"),
        ({"plan": "p.json", "max_sparsity_of": ("conv=0.5",)}, "--max_sparsity_of: it would change the plan p.json"),
        ({"flops": 0.5, "criterion": "L2norm"}, "received L2norm; did you mean l2[?]"),
        ({"flops": 0.5, "out": "m.npz"}, "--flops: it is for pruning channels, and m.npz is .* name a .keras file"),
        ({"flops": 0.5, "max_sparsity_of": ("conv",)}, "--max_sparsity_of: .* such as .*, received 'conv'"),
        ({"flops": 0.5, "max_sparsity_of": ("conv=2",)}, "--max_sparsity_of: .* received 'conv=2'"),
        ({"depth": 0.5}, "--depth_criterion cosine: it uses examples; give --data"),
        ({"depth": 0}, "--depth: expected a value above 0 and at most 1, received 0"),
        ({"depth": 0.5, "depth_criterion": "l2"}, "--depth_criterion: expected one of cosine, .*, random, received l2"),
        ({"depth": 0.5, "depth_criterion": "l1", "data": "digits"}, "--data: criterion l1 uses no examples"),
        (
            {"depth": 0.5, "depth_criterion": "l1", "flops": 0.5, "data": "digits"},
            "--data: criterion l1 and l2 uses no examples",
        ),
        ({"flops": 0.5, "depth_criterion": "l1"}, "--depth_criterion: it scores residual blocks; give --depth"),
        ({"depth": 0.5, "data": "digits", "criterion": "l1"}, "--criterion: it is for channels, and only residual"),
        ({"depth": 0.5, "data": "digits", "round_to": 8}, "--round_to: it is for channels, and only residual blocks"),
        ({"depth": 0.5, "data": "digits", "steps": 2}, "--steps: blocks are dropped in one step; give --flops"),
        (
            {"density": 0.5, "depth": 0.5, "out": "m.npz", "criterion": "magnitude"},
            "--depth: it is for pruning channels",
        ),
        ({"plan": "p.json", "depth_criterion": "loss"}, "--depth_criterion: "),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ConfigError, match=message):
        PruneConfig(**({"model": "a.keras", "out": "b.keras"} | settings))


def test_files_are_checked_first(folder, tmp_path):
    model, old = str(folder / "net.keras"), tmp_path / "old.keras"
    old.touch()
    with pytest.raises(CheckpointError, match=r"nowhere.keras does not exist"):
        PruneConfig("nowhere.keras", "b.keras", flops=0.5).check_files()
    with pytest.raises(RunFolderError, match=r"old.keras exists; add --overwrite"):
        PruneConfig(model, str(old), flops=0.5).check_files()
    PruneConfig(model, str(old), flops=0.5, overwrite=True).check_files()
    PruneConfig(model, str(old), flops=0.5, dry_run=True).check_files()


def test_the_schedules_are_those_of_the_package():
    types = get_type_hints(PruneConfig)
    assert set(get_args(get_args(types["schedule"])[0])) == set(SCHEDULES)


def test_a_limit_of_a_layer_given_to_the_limit_of_all_names_the_other_flag(capsys):
    words = ["prune", "a.keras", "b.keras", "--flops", "0.5", "--max_sparsity", "lstm1=0.3"]
    assert main(words) == 2
    assert "expected a number, received 'lstm1=0.3'; --max_sparsity_of is for single layers" in capsys.readouterr().err
