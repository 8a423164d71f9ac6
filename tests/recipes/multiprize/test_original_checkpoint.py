"""Checkpoints of the authors: their numbers, what old ones do not say, and files that are none."""

import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import tfprune
from tests.reading.torch_bytes import Called, Named, Tensor, archive, sequence
from tests.recipes.models.test_golden_biprop import build
from tfprune.errors import CheckpointError, ConfigError
from tfprune.layers import subnet_layers
from tfprune.recipes.multiprize import MultiPrizeConfig, load_original, run
from tfprune.recipes.multiprize.original_checkpoint import OldCheckpointWarning

WRITERS = pytest.mark.parametrize("write", [archive, sequence])


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


def narrow(name="Conv4Wide"):
    plain = build(name, init="ones", classifier_init="ones", batch_norm="fixed", width_multiplier=0.125)
    return tfprune.convert(plain, "subnet", density=0.9, original_quirks=True)


def float64(value):
    """A number of NumPy, as the authors' code stores learning rates and accuracies."""
    dtype = Called(Named("numpy", "dtype"), ("f8", False, True))
    raw = Called(Named("_codecs", "encode"), (np.float64(value).tobytes().decode("latin1"), "latin1"))
    return Called(Named("numpy.core.multiarray", "scalar"), (dtype, raw))


def checkpoint(golden, **changes):
    """The file of the narrow Conv4 of the golden numbers; fields that are None are left out."""
    names = [str(name) for name in golden["narrow/conv_names"]]
    state = {f"module.{n}.{k}": Tensor(golden[f"narrow/init/{n}.{k}"]) for n in names for k in ("weight", "scores")}
    content = {"epoch": 3, "arch": "Conv4Wide", "state_dict": state, "best_acc1": float64(12.5), "prune_rate": 0.5}
    content["optimizer"] = {"param_groups": [{"lr": float64(0.1), "params": [0, 1]}]}
    content["conv_type"] = "SubnetConv"
    return {key: value for key, value in (content | changes).items() if value is not None}


def test_logits(golden, tmp_path):
    images = golden["train/x"].transpose(0, 2, 3, 1)
    for write in (archive, sequence):
        write(tmp_path / "model_best.pth", checkpoint(golden))
        model = narrow()
        assert load_original(tmp_path / "model_best.pth", model) == 0.5
        np.testing.assert_allclose(model(images), golden["narrow/pr0.5/logits"], atol=2e-6)
        assert [float(layer.density.numpy()) for layer in subnet_layers(model)] == [0.5] * 7


@WRITERS
def test_old_files_do_not_say_how_much_they_keep(write, golden, tmp_path):
    path, model = tmp_path / "old.state", narrow()
    write(path, checkpoint(golden, prune_rate=None, conv_type=None))
    with pytest.raises(CheckpointError, match=r"old\.state does not say how many weights it keeps.*give .* --density"):
        load_original(path, model)
    with pytest.warns(OldCheckpointWarning, match=r"--density and --scope must be those that it was trained with"):
        assert load_original(path, model, density=0.5) == 0.5
    images = golden["train/x"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(model(images), golden["narrow/pr0.5/logits"], atol=2e-6)
    write(path, checkpoint(golden, conv_type=None))
    with pytest.warns(OldCheckpointWarning, match=r"2022: --scope must be those"):
        assert load_original(path, model, density=0.2) == 0.2
    np.testing.assert_allclose(model(images), golden["narrow/pr0.2/logits"], atol=2e-6)


@pytest.fixture
def measured(few_digits, golden, tmp_path, monkeypatch):
    """Evaluates a checkpoint, written with the given content, by the settings of a narrow Conv4; returns the model."""
    monkeypatch.chdir(tmp_path)
    images = np.clip(40 * golden["train/x"].transpose(0, 2, 3, 1) + 120, 0, 255).astype(np.uint8)
    labels = golden["train/y"]
    parts = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    data = replace(few_digits, **parts, mean=(120.0,) * 3, std=(40.0,) * 3)

    def measure(content, **settings):
        sequence("best.pth", content)
        given = {"arch": "Conv4", "width_multiplier": 0.125, "batch_size": 8, "export": False, "evaluate": True}
        return run(MultiPrizeConfig(pretrained="best.pth", **given | settings), data)

    return measure


def test_the_scope_of_the_file_is_used(golden, measured):
    names = [str(name) for name in golden["narrow/conv_names"]]
    scores = [np.abs(golden[f"narrow/init/{name}.scores"]).ravel() for name in names]
    threshold = np.sort(np.concatenate(scores))[::-1][round(0.2 * sum(map(len, scores))) - 1]
    expected = [int((each >= threshold).sum()) for each in scores]

    def kept(result):
        return [int(np.sum(layer.mask)) for layer in subnet_layers(result.model)]

    content = checkpoint(golden, conv_type="GlobalSubnetConv", prune_rate=0.2)
    assert kept(measured(content)) == kept(measured(content, scope="global")) == expected
    with pytest.warns(OldCheckpointWarning, match="--density and --scope"):
        old = measured(checkpoint(golden, conv_type=None, prune_rate=None), density=0.2, scope="global")
    assert kept(old) == expected
    layerwise = measured(checkpoint(golden, prune_rate=0.2))
    assert kept(layerwise) == [-(-len(each) // 5) for each in scores]
    with pytest.raises(ConfigError, match=r"--scope: expected that of best\.pth, layer, received global; leave it out"):
        measured(checkpoint(golden), scope="global")


def test_a_density_that_is_given_replaces_that_of_the_file(golden, measured):
    assert measured(checkpoint(golden)).numbers["density"] == pytest.approx(0.5, abs=1e-3)
    assert measured(checkpoint(golden), density=0.2).numbers["density"] == pytest.approx(0.2, abs=1e-3)
    assert measured(checkpoint(golden, prune_rate=-1.0), density=0.2).numbers["density"] == pytest.approx(0.2, abs=1e-3)


def state_of(plain, rng, *, scored, bias=()):
    """A state_dict of random numbers with the shapes of a model of Conv2's kind, module by module."""
    state, arrays = {}, {}
    for number, layer in enumerate(layer for layer in plain.layers if layer.weights):
        parts = {}
        if hasattr(layer, "kernel"):
            shape = layer.kernel.shape
            shape = (*shape[::-1][:2], *shape[:2]) if len(shape) == 4 else (shape[1], shape[0], 1, 1)
            parts["weight"] = rng.normal(size=shape)
            if layer.name in scored:
                parts["scores"] = rng.normal(size=shape)
            if layer.name in bias:
                parts["bias"] = rng.normal(size=shape[0])
        else:
            count = layer.moving_mean.shape[0]
            parts = {name: rng.random(count) for name in ("weight", "bias", "running_mean", "running_var")}
        for name, array in parts.items():
            arrays[layer.name, name] = array.astype(np.float32)
            state[f"module.layers.{number}.{name}"] = Tensor(arrays[layer.name, name])
    return state, arrays


def test_trained_batch_norms_and_binary_activations_follow_from_the_file(golden, measured):
    plain = build("Conv4Wide_BinAct", init="ones", classifier_init="ones", width_multiplier=0.125)
    kernels = [layer.name for layer in plain.layers if hasattr(layer, "kernel")]
    state, arrays = state_of(plain, np.random.default_rng(0), scored=kernels)
    content = checkpoint(golden, state_dict=state, arch="Conv4Wide_BinAct")
    model = measured(content).model
    assert sum(type(layer).__name__ == "BinaryActivation" for layer in model.layers) == 6
    for (name, part), array in arrays.items():
        layer = model.get_layer(name)
        ours = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        if not hasattr(layer, "kernel"):
            np.testing.assert_array_equal(getattr(layer, ours[part]), array)
    fixed = tfprune.convert(
        build("Conv4Wide_BinAct", init="ones", classifier_init="ones", batch_norm="fixed", width_multiplier=0.125),
        "subnet",
    )
    with pytest.raises(CheckpointError, match=r"expected no gamma of .*, best\.pth has one that was trained"):
        load_original("best.pth", fixed)


def test_dense_layers_and_models(golden, measured):
    plain = build("Conv4Wide", init="ones", classifier_init="ones", width_multiplier=0.125, classifier_bias=True)
    kernels = [layer.name for layer in plain.layers if hasattr(layer, "kernel")]
    first, *middle, last = kernels
    state, arrays = state_of(plain, np.random.default_rng(0), scored=middle, bias=[last])
    model = measured(checkpoint(golden, state_dict=state)).model
    assert [layer.name for layer in subnet_layers(model)] == middle
    np.testing.assert_array_equal(model.get_layer(first).kernel, arrays[first, "weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(model.get_layer(last).bias, arrays[last, "bias"])
    del state[next(key for key in state if key.endswith("bias"))]
    state = {key: value for key, value in state.items() if not key.endswith("scores")}
    content = checkpoint(golden, state_dict=state, conv_type="DenseConv", prune_rate=0.0)
    dense = measured(content, dense=True).model
    assert subnet_layers(dense) == subnet_layers(measured(content).model) == []
    np.testing.assert_array_equal(dense.get_layer(last).kernel, arrays[last, "weight"][:, :, 0, 0].T)


def test_a_run_starts_from_an_old_file(golden, measured):
    content = checkpoint(golden, prune_rate=None)
    with pytest.warns(OldCheckpointWarning, match="--density"):
        started = measured(content, evaluate=False, density=0.2, epochs=0, train_path="run")
    assert started.numbers["density"] == pytest.approx(0.2, abs=1e-3)
    scores = golden["narrow/init/convs.2.scores"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(subnet_layers(keras.saving.load_model("run/trained.keras"))[1].scores, scores)


@WRITERS
def test_hostile_and_damaged_files(write, golden, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = narrow()
    hostile = Called(Named("builtins", "exec"), ("open('hacked', 'w')",))
    write("hostile.pth", checkpoint(golden, best_acc1=hostile))
    with pytest.raises(CheckpointError, match=r"it asks for builtins\.exec; nothing of it was run"):
        load_original("hostile.pth", model)
    assert not Path("hacked").exists()
    write("good.pth", checkpoint(golden))
    content = Path("good.pth").read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 30):
        Path("cut.pth").write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"cannot read cut\.pth: expected a file of torch\.save, "):
            load_original("cut.pth", model)


def test_other_networks(golden, tmp_path):
    path = tmp_path / "a.pth"

    def refusal(model=None, **changes):
        sequence(path, checkpoint(golden, **changes))
        with pytest.raises(CheckpointError) as raised:
            load_original(path, narrow() if model is None else model)
        return str(raised.value)

    found = refusal(narrow("Conv6Wide"))
    assert "expected 9 sub-network layers and 0 batch norms" in found
    assert "has 7 and 0" in found
    wide = build("Conv4Wide", init="ones", classifier_init="ones", width_multiplier=0.25)
    found = refusal(tfprune.convert(wide, "subnet"))
    assert "expected the shape " in found
    assert "build the architecture of the file ('Conv4Wide')" in found
    assert "expected a prune_rate in (0, 1]" in refusal(prune_rate=-1.0)
    assert "expected a number as prune_rate" in refusal(prune_rate="0.5")
    assert "expected the conv_type SubnetConv, " in refusal(conv_type="FixedSubnetConv")
    assert "expected the conv_type SubnetConv, " in refusal(conv_type=["SubnetConv"])
    assert "expected tensors by name" in refusal(state_dict={"a.weight": 1})
    vector = Tensor(np.ones(3, np.float32))
    assert "'mask' is none" in refusal(state_dict={"mask.weight": vector})
    state = checkpoint(golden)["state_dict"]
    assert "expected no bias of " in refusal(state_dict=state | {"module.convs.2.bias": vector})
    sequence(path, [1, 2])
    with pytest.raises(CheckpointError, match=r"expected a checkpoint with a state_dict"):
        load_original(path, narrow())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(golden, tmp_path, value):
    content = checkpoint(golden)
    name = next(name for name in content["state_dict"] if name.endswith(".scores"))
    scores = golden[f"narrow/init/{name.removeprefix('module.')}"].copy()
    scores.flat[0] = value
    content["state_dict"][name] = Tensor(scores)
    archive(tmp_path / "a.pth", content)
    with pytest.raises(
        CheckpointError, match=r"cannot read .*a\.pth: .*, its array .*scores.* has NaN or infinite numbers"
    ):
        load_original(tmp_path / "a.pth", narrow())


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((0, 3), np.float32), "its array 'module.convs.0.weight' is empty"),
        (np.full((4, 3), 1e39), "its array 'module.convs.0.weight' has numbers beyond float32"),
        (np.full((4, 3), np.inf, np.float16), "its array 'module.convs.0.weight' has NaN or infinite numbers"),
        (np.ones((), np.float32), "'convs.0' is none"),
        (np.ones(4, np.float32), "'convs.0' is none"),
        (np.ones((4, 3, 1), np.float32), "expected the shape "),
    ],
)
def test_weights_of_another_kind_are_named(golden, tmp_path, array, said):
    content = checkpoint(golden)
    assert "module.convs.0.weight" in content["state_dict"]
    content["state_dict"]["module.convs.0.weight"] = Tensor(array)
    archive(tmp_path / "a.pth", content)
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_original(tmp_path / "a.pth", narrow())


@pytest.mark.parametrize("name", ["weight", "scores", "bias"])
def test_single_numbers_instead_of_matrices(golden, tmp_path, name):
    content = checkpoint(golden)
    key = next(key for key in reversed(content["state_dict"]) if key.endswith(".scores")).replace("scores", name)
    content["state_dict"][key] = Tensor(np.ones((), np.float32))
    archive(tmp_path / "a.pth", content)
    with pytest.raises(CheckpointError) as caught:
        load_original(tmp_path / "a.pth", narrow())
    assert str(caught.value).isprintable()


def test_a_density_of_hundreds_of_digits(golden, tmp_path):
    archive(tmp_path / "a.pth", checkpoint(golden, prune_rate=10**600))
    with pytest.raises(CheckpointError, match=r"expected a prune_rate in \(0, 1\]") as caught:
        load_original(tmp_path / "a.pth", narrow())
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
