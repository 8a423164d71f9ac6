"""What is pruned, and what Bop trains: as in the original's models, unless the settings say otherwise."""

import json
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from tests.recipes.models.torch_names import kernel_names
from tfprune.errors import ConfigError
from tfprune.graph import prunable_weights
from tfprune.layers import PSG
from tfprune.masks import Masks
from tfprune.recipes.catalog import configs
from tfprune.recipes.models import build_model
from tfprune.recipes.peekaboo import PeekabooConfig, pruning
from tfprune.recipes.peekaboo import run as run_peekaboo
from tfprune.recipes.peekaboo.method import Peekaboo
from tfprune.recipes.peekaboo.pruning import unpruned_layers

ORIGINALS = {
    **{f"ResNet{depth}": f"ResNet-{depth}" for depth in (18, 20, 34, 50, 110)},
    "WideResNet28_10": "WideResNet-28-10",
    **{f"Conv{depth}": f"Conv{depth}-BN" for depth in (4, 6)},
    **{f"VGG{depth}": f"VGG-{depth}-maxpool" for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": f"ResNet-{depth}" for depth in (18, 50)},
}


def unbuilt(arch, **shape):
    """A model without values, in no time."""
    with keras.StatelessScope(initialize_variables=False):
        return build_model(arch, init="ones", classifier_init="ones", **shape)


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_default_scope_is_the_originals(golden_peekaboo, name):
    golden = json.loads(str(golden_peekaboo["e/layer_lists_json"]))[name]["prunable"]
    if name.startswith("resnet"):
        config = configs(imagenet=True)["peekaboo"](data_path="images", arch=ORIGINALS[name])
        model = unbuilt(config.arch, num_classes=1000, input_shape=(64, 64, 3))
    else:
        config = PeekabooConfig(arch=ORIGINALS[name])
        model = unbuilt(config.arch, num_classes=10, input_shape=(32, 32, 3))
    ours = prunable_weights(model, ignore=unpruned_layers(config, model))
    assert set(ours) == set(kernel_names(model, [weight for weight, _ in golden]).values())
    total = sum(int(np.prod(weight.shape)) for weight in ours.values())
    assert total == sum(int(np.prod(shape)) for _, shape in golden)
    if name == "resnet50":
        assert total == 22_734_016


def test_each_part_is_a_choice():
    model = unbuilt("ResNet-20", num_classes=10, input_shape=(32, 32, 3))
    shortcuts = ("block1.0_conv3", "block2.0_conv3")
    for changes, expected in (
        ({}, ("fc",)),
        ({"prune_classifier": True}, ()),
        ({"prune_shortcuts": False}, ("fc", *shortcuts)),
        ({"prune_classifier": True, "prune_shortcuts": False}, shortcuts),
    ):
        assert unpruned_layers(PeekabooConfig(arch="ResNet-20", **changes), model) == expected
    chain = unbuilt("Conv4-BN", num_classes=10, input_shape=(32, 32, 3))
    assert unpruned_layers(PeekabooConfig(arch="Conv4-BN", prune_shortcuts=False), chain) == ()
    assert unpruned_layers(PeekabooConfig(arch="Conv4-BN", prune_classifier=False), chain) == ("fc",)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::tfprune.criteria.LayerCollapseWarning")
def test_synflow_would_remove_the_shortcuts():
    """Of a narrow ResNet-50 in five rounds: none by default, and some if they are pruned, too."""
    shape = {"num_classes": 1000, "input_shape": (32, 32, 3), "stem": "large", "init": "kaiming_normal"}
    model = build_model("ResNet-50", **shape, padding="symmetric", seed=0, width_multiplier=0.25)
    settings = {"data_path": "images", "prune_iters": 5}
    config = configs(imagenet=True)["peekaboo"]
    assert pruning.make_criterion(config(**settings), model)(model, 0.5).collapsed == ()
    emptied = pruning.make_criterion(config(**settings, prune_shortcuts=True), model)(model, 0.5).collapsed
    assert set(emptied) & {f"block{stage}.0_conv3/kernel" for stage in (1, 2, 3)}


@pytest.fixture
def run(few_digits, tmp_path):
    """Runs the method on a small model with shortcuts, in a folder of its own."""

    def run_small(train_path="run", **changes):
        settings = {"arch": "ResNet-8x2", "dataset": "digits", "batch_size": 100, "epochs": 1, "milestones": (1,)}
        settings |= {"pruner": "Mag", "prune_iters": 1, "density": 0.4, "prune_scope": "local", "export": False}
        settings |= {"tau": 1e-8, "ar": 0.5}
        return run_peekaboo(PeekabooConfig(train_path=str(tmp_path / train_path), **settings | changes), few_digits)

    return run_small


@pytest.mark.parametrize("psg", [False, True])
def test_shortcuts_that_are_not_pruned_are_trained_by_their_signs(run, psg):
    result = run(prune_shortcuts=False, prune_classifier=True, psg=psg)
    weights = {name: np.asarray(weight) for name, weight in prunable_weights(result.model).items()}
    start = prunable_weights(keras.saving.load_model(result.folder / "initial.keras"))
    shortcuts = [name for name in weights if name.endswith("_conv3/kernel")]
    assert len(shortcuts) == 2
    assert set(result.masks) == set(weights) - set(shortcuts)
    assert result.numbers["prunable"] == sum(weights[name].size for name in result.masks)
    assert result.masks.density == pytest.approx(0.4, abs=1e-3)
    for name in shortcuts:
        before = np.asarray(start[name])
        np.testing.assert_array_equal(np.abs(weights[name]), np.abs(before))
        assert 0 < np.mean(weights[name] != before) < 1
    classifier = result.masks["fc/kernel"]
    assert not weights["fc/kernel"][~classifier].any()
    trained, before = (np.abs(np.asarray(each["fc/kernel"]))[classifier] for each in (weights, start))
    assert (trained != before).all()  # by SGD


def test_masks_of_a_file_may_leave_out_shortcuts_and_classifier(run, tmp_path):
    whole = run("whole", epochs=0, prune_classifier=True).masks
    assert {"fc/kernel", "block1.0_conv3/kernel"} < set(whole)
    for name, left_out in {"all": (), "some": ("block1.0_conv3",), "both": ("block1.0_conv3", "fc")}.items():
        given = Masks({key: mask for key, mask in whole.items() if key.partition("/")[0] not in left_out})
        given.save(tmp_path / f"{name}.npz")
        assert run(name, masks=str(tmp_path / f"{name}.npz"), pruner="SynFlow").masks == given
    Masks({name: mask for name, mask in whole.items() if name != "conv/kernel"}).save(tmp_path / "less.npz")
    with pytest.raises(ConfigError, match="expected one for conv/kernel"):
        run("less", masks=str(tmp_path / "less.npz"))


@pytest.mark.parametrize(("arch", "by_sgd"), [("Conv2-BN", []), ("VGG-11", ["fc/kernel"]), ("ResNet-8x2", ["fc"])])
@pytest.mark.parametrize("psg", [False, True])
def test_the_classifier_is_trained_as_in_the_original(few_digits, monkeypatch, arch, by_sgd, psg):
    """Only that of a Conv model, a convolution in the original, is trained by its signs, and has a PSG gradient."""
    monkeypatch.setattr(pruning, "build_model", partial(build_model, width_multiplier=0.125))
    images = np.zeros((200, 32, 32, 1), np.uint8)
    data = replace(few_digits, train_images=images, test_images=images[:60])
    method = Peekaboo(PeekabooConfig(arch=arch, dataset="digits", batch_size=100, psg=psg), data)
    sparse, bop = method.trainable(
        method.model, lambda fast: method._masked(fast, method.given), lambda model: method._optimizer(model)
    )
    signs = {path.rpartition("/")[0].rpartition("/")[2] for path in bop.sign_trained}
    layers = {layer.name: layer for layer in sparse.layers if hasattr(layer, "kernel")}
    assert set(layers) - signs == {name.partition("/")[0] for name in by_sgd}
    masked = {name for name, layer in layers.items() if hasattr(layer, "mask")}
    assert set(layers) - masked == {name for name in by_sgd if "/" not in name}
    with_psg = {name for name, layer in layers.items() if isinstance(layer, PSG)}
    assert with_psg == (signs if psg else set())
