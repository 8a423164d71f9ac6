import warnings

import keras
import numpy as np
import pytest

from tests.opaque_layers import GatedMLP
from tfprune.graph import ModelClassWarning, residual_blocks, without_blocks
from tfprune.graph.model_settings import remade_without

layers = keras.layers
X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


@keras.saving.register_keras_serializable("tests")
class Tower(keras.Model):
    """A model that makes its blocks itself; `depths` are those of its two halves."""

    def __init__(self, depths, inner=8, num_block_heads=7, **options):
        inputs = x = keras.Input((6,))
        for half, depth in zip("ab", depths, strict=True):
            for number in range(depth):
                x = GatedMLP(inner, name=f"{half}_{number}")(x)
            x = layers.Dense(6, name=f"between_{half}")(x)
        super().__init__(inputs, x, **options)
        self.depths, self.inner, self.num_block_heads = depths, inner, num_block_heads

    def get_config(self):
        settings = {"depths": self.depths, "inner": self.inner, "num_block_heads": self.num_block_heads}
        return {"name": self.name, **settings}

    @classmethod
    def from_config(cls, config, **_):
        return cls(**config)


class Shifted(Tower):
    """A model that computes something else where it has other settings than at first."""

    def __init__(self, depths, **options):
        super().__init__(depths, **options)
        if tuple(depths) != (3, 2):
            self.get_layer("a_0").norm.epsilon = 10.0


def randomized(model):
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def without(model, *dropped):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelClassWarning)  # where no single setting says what is left
        return without_blocks(model, [block for block in residual_blocks(model) if block.name in dropped])


@pytest.mark.parametrize(
    ("dropped", "depths"), [(("a_1",), (2, 2)), (("b_0",), (3, 1)), (("a_0", "a_2", "b_1"), (1, 1))]
)
def test_the_class_makes_the_copy_with_other_settings(dropped, depths):
    model = randomized(Tower((3, 2)))
    small = without(model, *dropped)
    new = remade_without(model, small, dropped)
    assert type(new) is Tower
    assert tuple(new.depths) == depths
    assert (new.inner, new.num_block_heads) == (8, 7)
    np.testing.assert_allclose(new(X), small(X), rtol=1e-6)
    assert tuple(model.depths) == (3, 2)


def test_the_state_of_training_goes_along(tmp_path):
    model = randomized(Tower((2, 1)))
    model.get_layer("between_a").trainable = False
    model.compile("adam", "mse")
    small = without(model, "a_0")
    small.fit(X, X, verbose=0)
    new = remade_without(model, small, ["a_0"])
    assert not new.get_layer("between_a").trainable
    for one, other in zip(small.optimizer.variables, new.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    new.fit(X, X, verbose=0)
    new.save(tmp_path / "new.keras")
    again = keras.saving.load_model(tmp_path / "new.keras", compile=False)
    assert type(again) is Tower
    np.testing.assert_allclose(again(X), new(X), rtol=1e-6)


def test_a_whole_half_cannot_go():
    """The setting would be 0, which may mean anything."""
    model = randomized(Tower((3, 1)))
    assert remade_without(model, without(model, "b_0"), ["b_0"]) is None


def test_a_class_that_makes_something_else_is_found_out():
    model = randomized(Shifted((3, 2)))
    assert remade_without(model, without(model, "a_1"), ["a_1"]) is None


def test_attributes_that_the_constructor_does_not_set_stay():
    model = randomized(Tower((3, 2)))
    model.teacher = "kept"
    small = without(model, "a_1")
    assert remade_without(model, small, ["a_1"]) is None
    assert small.teacher == "kept"


def test_models_that_files_hold_by_their_layers_stay_as_they_are():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, GatedMLP(8, name="block_1")(GatedMLP(8, name="block_0")(inputs)))
    small = without_blocks(model, residual_blocks(model)[:1])
    assert remade_without(model, small, ["block_0"]) is None
