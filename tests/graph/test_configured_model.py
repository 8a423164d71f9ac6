"""Pruned models that their class makes from a configuration."""

import warnings

import keras
import numpy as np
import pytest

import tfprune
from tests.settings_models import Backbone, Stages, Task, TimesRootOfWidth
from tfprune.graph import ModelClassWarning, channel_groups, slim
from tfprune.graph.model_class import graph_variables

layers = keras.layers
X = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)


def filled(model):
    """Gives a model random weights."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def halved(model, groups, keep=lambda name: False, uneven=False):
    mask = np.ones(groups.channels, bool)
    for index, group in enumerate(groups):
        if not keep(group.name):
            mask[group.channels][1 :: 3 if uneven and index % 2 else 2] = False
    return mask


def with_zeros(backbone, groups, mask):
    """Sets what reads masked channels within blocks to zero, by the names of the layers."""
    for block in backbone.blocks:
        (group,) = (group for group in groups if group.name.endswith(f"{block.name}/gate"))
        kernel = np.asarray(block.down.kernel).copy()
        kernel[~mask[group.channels]] = 0
        block.down.kernel.assign(kernel)


def in_blocks(name):
    return "block" not in name


@pytest.fixture
def no_loss():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelClassWarning)
        yield


def test_equal_widths_keep_the_class(no_loss, tmp_path):
    model = filled(Backbone(name="mine"))
    groups = channel_groups(model)
    mask = halved(model, groups, in_blocks)
    small = slim(model, mask, groups)
    assert type(small) is Backbone
    assert small.name == "mine"
    assert small.get_config() == {**model.get_config(), "inner": 12}
    assert small.blocks[2].gate.units == 6
    assert [block.name for block in small.blocks] == [block.name for block in model.blocks]
    before = np.asarray(model(X))
    with_zeros(model, groups, mask)
    assert np.abs(np.asarray(small(X)) - before).max() > 0.1
    np.testing.assert_allclose(small(X), model(X), rtol=1e-5, atol=1e-5)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert type(loaded) is Backbone
    np.testing.assert_allclose(loaded(X), small(X), rtol=1e-6, atol=1e-6)


def test_settings_per_stage_keep_the_class(no_loss):
    model = filled(Stages())
    small = tfprune.prune_channels(model, "l2", density=0.4)
    assert type(small) is Stages
    assert small.widths == [small.get_layer("conv_0").filters, small.get_layer("conv_1").filters]
    assert small.widths != [8, 16]
    assert small.classes == 8
    assert small(IMAGES).shape == (2, 8)


@pytest.mark.parametrize("fraction", [0.35, 0.5, 0.61, 0.8, 0.93])
@pytest.mark.parametrize("target", ["params", "density"])
def test_a_local_scope_gives_equal_blocks_equal_widths(fraction, target, no_loss):
    model = filled(Backbone())
    plan = tfprune.plan_channels(model, "l2", scope="local", **{target: fraction})
    kept = {group.name.rpartition("/")[2]: len(group.keep) for group in plan.groups}
    assert len({len(group.keep) for group in plan.groups if "block" in group.name}) == 1
    small = plan.apply()
    assert type(small) is Backbone
    assert (small.inner, small.width) == (2 * kept["gate"], kept["stem"])


def test_different_widths_are_a_graph_and_the_setting_says_so(tmp_path):
    model = filled(Backbone())
    groups = channel_groups(model)
    mask = halved(model, groups, in_blocks, uneven=True)
    with pytest.warns(ModelClassWarning, match="saved as a plain model"):
        small = slim(model, mask, groups)
    assert isinstance(small, Backbone)
    assert [block.gate.units for block in small.blocks] == [8, 6, 8]
    assert small.blocks[0] is small.get_layer("block_0")
    with pytest.raises(AttributeError, match=r'inner of .*: expected one number.*scope="local"'):
        small.inner  # noqa: B018
    assert small.width == 8
    with_zeros(model, groups, mask)
    np.testing.assert_allclose(small(X), model(X), rtol=1e-5, atol=1e-5)
    small.save(tmp_path / "small.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "small.keras")(X), small(X), rtol=1e-6, atol=1e-6)
    again = tfprune.prune_channels(small, "l2", density=0.8)
    assert again(X).shape == small(X).shape
    with pytest.raises(AttributeError, match="inner of"):
        again.inner  # noqa: B018


def test_a_class_that_computes_with_its_width_is_not_taken():
    model = filled(TimesRootOfWidth())
    with pytest.warns(ModelClassWarning, match="saved as a plain model"):
        small = tfprune.prune_channels(model, "l2", density=0.5)
    with pytest.raises(AttributeError, match="width of"):
        small.width  # noqa: B018
    assert small.get_layer("stem").units == 4
    kernel = np.asarray(model.get_layer("out").kernel).copy()
    stem, cut = (np.asarray(each.get_layer("stem").kernel) for each in (model, small))
    kernel[[not any(np.array_equal(column, other) for other in cut.T) for column in stem.T]] = 0
    model.get_layer("out").kernel.assign(kernel)
    np.testing.assert_allclose(small(X), model(X), rtol=1e-5, atol=1e-5)


def test_tasks_keep_their_class_state_and_parts(no_loss):
    shift = layers.Rescaling(2.0, name="shift")
    model = filled(Task(Backbone(rate=0.5, name="inside"), preprocessor=shift, name="whole"))
    model.compile(keras.optimizers.SGD(0.125, momentum=0.5), "mae", sampler="beam", metrics=["mse"])
    model.fit(X, np.zeros((4, 5, 3), np.float32), verbose=0)
    model.backbone.stem.trainable = False
    model.backbone.teacher = layers.Dense(2)
    model.backbone.teacher.build((None, 2))
    model.backbone.teacher.trainable = False
    model.backbone.factor = 3.0
    model.preprocessor = other = layers.Rescaling(3.0, name="other")
    model.note = {"a": [1]}
    small = tfprune.plan_channels(model, "l2", params=0.8, scope="local").apply()
    assert type(small) is Task
    assert type(small.backbone) is Backbone
    assert (small.name, small.backbone.name) == ("whole", "inside")
    assert small.backbone is small.get_layer("inside")
    assert small.backbone.inner < 24
    assert small.sampler == "beam"
    assert small.preprocessor.scale == other.scale
    assert [layer.name for layer in small._flatten_layers()].count("shift") == 0
    assert small.note == {"a": [1]}
    assert small.note is not model.note
    assert small.backbone.factor == 3
    assert small.backbone.teacher is model.backbone.teacher
    assert not small.backbone.stem.trainable
    assert small.backbone.last.trainable
    assert small.loss == "mae"
    assert float(small.optimizer.learning_rate) == 0.125
    assert small.optimizer is not model.optimizer
    small.fit(X, np.zeros((4, 5, 3), np.float32), verbose=0)
    loaded = Task.from_config(small.get_config())
    for new, old in zip(graph_variables(loaded.backbone), graph_variables(small.backbone), strict=True):
        new.assign(old)
    loaded.head.set_weights(small.head.get_weights())
    assert type(loaded) is Task
    np.testing.assert_allclose(loaded(X), small(X), rtol=1e-6, atol=1e-6)


def test_the_state_of_the_optimizer_is_carried_over(no_loss):
    model = filled(Backbone())
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(X, np.zeros((4, 5, 5), np.float32), verbose=0)
    plan = tfprune.plan_channels(model, "l2", density=0.5, scope="local", ignore=["stem", "last"])
    small = plan.apply(keep_optimizer=True)
    assert type(small) is Backbone
    for old, new in zip(model.optimizer.momentums, small.optimizer.momentums, strict=True):
        assert np.any(old), "it was trained"
        if old.shape == new.shape:
            np.testing.assert_array_equal(old, new)
        else:
            assert np.isin(new, old).all()


def test_a_model_that_is_not_compiled_stays_so(no_loss):
    model = filled(Task(Backbone()))
    model.compiled = False
    assert not tfprune.prune_channels(model, "l2", density=0.5, scope="local").compiled


def test_a_nested_model_keeps_its_class_in_a_plain_model(no_loss):
    backbone = filled(Backbone(name="inside"))
    inputs = keras.Input((None, 6))
    model = filled(keras.Model(inputs, layers.Dense(3, name="head")(backbone(inputs))))
    groups = channel_groups(model)
    mask = halved(model, groups, in_blocks)
    small = slim(model, mask, groups)
    assert type(small.get_layer("inside")) is Backbone
    assert small.get_layer("inside").inner == 12
    with_zeros(backbone, groups, mask)
    np.testing.assert_allclose(small(X), model(X), rtol=1e-5, atol=1e-5)


def test_types_of_numbers_are_kept(no_loss):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = filled(Backbone())
        small = tfprune.prune_channels(model, "l2", density=0.5, scope="local")
    finally:
        keras.config.set_dtype_policy(before)
    assert type(small) is Backbone
    assert small.last.compute_dtype == "bfloat16"
    assert small.last.variable_dtype == "float32"


def test_layers_of_other_types_of_numbers_are_a_graph():
    model = filled(Backbone())
    model.last.dtype_policy = "mixed_bfloat16"
    with pytest.warns(ModelClassWarning):
        small = tfprune.prune_channels(model, "l2", density=0.5, scope="local")
    assert small.last.compute_dtype == "bfloat16"


def test_dropped_blocks_keep_class_and_names(no_loss, tmp_path):
    model = filled(Backbone(depth=4))
    for scale, block in zip((1, 0.001, 1, 0.01), model.blocks, strict=True):
        block.down.kernel.assign(block.down.kernel * scale)
        block.down.bias.assign(block.down.bias * scale)
    plan = tfprune.plan_channels(model, "l2", depth=0.5, density=0.5, scope="local", depth_criterion="cosine", data=X)
    small = plan.apply()
    assert type(small) is Backbone
    assert (small.depth, len(small.blocks)) == (2, 2)
    assert [block.name for block in small.blocks] == ["block_0", "block_2"]
    assert small.inner == 2 * small.blocks[0].gate.units == 2 * small.blocks[1].gate.units < 24
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(loaded(X), small(X), rtol=1e-6, atol=1e-6)
