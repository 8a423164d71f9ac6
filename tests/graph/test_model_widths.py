"""Which configuration says the widths of a pruned model."""

import random

import keras
import pytest

from tests.settings_models import Backbone, Stages, Task, TimesRootOfWidth
from tfprune.graph.model_widths import model_widths


def shapes_of(model, other):
    """Returns what gives, for the variables of a model, the shapes of another one's."""
    pairs = zip(model.variables, other.variables, strict=True)
    shapes = {id(variable): tuple(small.shape) for variable, small in pairs}
    return lambda variable: shapes[id(variable)]


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (Backbone, {"inner": 12}),
        (Backbone, {"inner": 4, "width": 5}),
        (Stages, {"widths": [3, 16]}),
        (Stages, {"widths": [8, 5]}),
        (Stages, {"widths": [7, 9], "classes": 8}),
        (TimesRootOfWidth, {"width": 3}),
        (Backbone, {}),
    ],
)
def test_settings_of_a_smaller_model_are_found_from_the_shapes_alone(make, settings):
    model, small = make(), make(**settings)
    before, state = model.get_config(), random.getstate()
    (found,) = model_widths(model, shapes_of(model, small)).values()
    assert found.config == {**before, **settings}
    assert model.get_config() == before
    assert random.getstate() == state


def test_blocks_that_are_gone_are_counted():
    model = Backbone(depth=4)
    gone = {id(variable) for block in (model.blocks[1], model.blocks[2]) for variable in block.variables}
    shape = lambda variable: None if id(variable) in gone else tuple(variable.shape)  # noqa: E731
    (found,) = model_widths(model, shape).values()
    assert found.config == {**model.get_config(), "depth": 2}
    assert found.changed == ("depth",)


def test_different_widths_have_no_setting():
    model = Backbone()
    first = {id(variable) for variable in model.blocks[0].variables}
    cut = {12: 6}
    shape = lambda variable: tuple(cut.get(n, n) if id(variable) in first else n for n in variable.shape)  # noqa: E731
    (found,) = model_widths(model, shape).values()
    assert found.config is None
    assert found.changed == ("inner",)


def test_where_another_setting_counts_weights_of_other_ranks_it_is_not_taken():
    model, target = Stages(widths=[8, 16]), [(3, 3, 3, 8), (8,), (8, 8), (8,)]
    shapes = {id(variable): shape for variable, shape in zip(model.variables, target, strict=False)}
    (found,) = model_widths(model, lambda variable: shapes.get(id(variable))).values()
    assert found.config is None


def test_a_task_has_the_settings_of_its_backbone():
    model, small = Task(Backbone()), Task(Backbone(inner=10, width=6))
    found = model_widths(model, shapes_of(model, small))
    assert set(found) == {id(model), id(model.backbone)}
    own = found[id(model)].config
    assert own["backbone"]["config"] == {**model.backbone.get_config(), "inner": 10, "width": 6}
    assert own["classes"] == 3


class Forgetful(Stages):
    """Writes a setting that it was not made with."""

    def get_config(self):
        return {**super().get_config(), "widths": [8, 20]}


class Failing(Stages):
    """Cannot write its settings."""

    def get_config(self):
        raise NotImplementedError


@pytest.mark.parametrize("make", [Forgetful, Failing])
def test_a_class_that_does_not_make_the_model_again_has_none(make):
    model = make()
    (found,) = model_widths(model, shapes_of(model, Stages(widths=[4, 16]))).values()
    assert found.config is None
    assert found.changed == ()


def test_models_of_keras_and_of_graphs_have_none():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert model_widths(model, lambda variable: tuple(variable.shape)) == {}


def test_no_memory_is_taken_for_weights():
    model, huge = Stages(), 2**20
    targets = [(3, 3, 3, huge), (huge,), (3, 3, huge, huge), (huge,), (huge, 8), (8,)]
    shapes = {id(variable): shape for variable, shape in zip(model.variables, targets, strict=True)}
    (found,) = model_widths(model, lambda variable: shapes[id(variable)]).values()
    assert found.config["widths"] == [huge, huge], "which has 36 TB of weights"
    with keras.StatelessScope():
        pass  # at its end, Keras makes what waits for it
    layers = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    assert layers.count_params() == 6
