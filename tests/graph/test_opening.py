"""The code of one layer on symbolic tensors."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import opaque_layers as opaque
from tfprune.graph.opening import OpeningError, opened, run_opening
from tfprune.keras_private import first_call

layers = keras.layers


def called(layer, shape=(None, 5, 8), **arguments):
    """Keras' record of a call of the layer."""
    keras.Model(inputs := keras.Input(batch_shape=shape), layer(inputs, **arguments))
    return first_call(layer)


class Listed(layers.Layer):
    """Holds a weight in a list, where no attribute names it."""

    def build(self, shape):
        self.inside = layers.Dense(shape[-1])
        self.inside.build(shape)
        self.factors = [self.add_weight(shape=shape[-1:], name="factor")]

    def call(self, x):
        return ops.multiply(self.inside(x), self.factors[0])


class Tabled(layers.Layer):
    """Looks up its table of positions, which do not depend on its inputs."""

    def build(self, shape):
        self.table = layers.Embedding(shape[1], shape[2])
        self.table.build(())
        self.inside = layers.Dense(shape[-1])
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x) + self.table(ops.arange(x.shape[1]))


class Shifting(layers.Layer):
    """Adds to a weight in the first call with the weight on the left."""

    def build(self, shape):
        self.inside = layers.Dense(shape[-1])
        self.inside.build(shape)
        self.offset = self.add_weight(shape=shape[-1:], name="offset")

    def call(self, x, scale=1.0, training=None):
        return self.offset + self.inside(x) * scale + (100.0 if training else 0.0)


def test_the_records_compute_what_the_layer_computes():
    node = called(Shifting(), scale=3.0)
    layer = node.operation
    layer.offset.assign(np.arange(8.0))
    opening = opened(node, [(None, 5, 8)])
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)

    def call(record, values):
        args, kwargs = record.arguments.fill_in(values)
        return keras.tree.flatten(record.operation(*args, **kwargs))

    (found,) = run_opening(opening, [x], call, lambda variable: variable.value)
    np.testing.assert_allclose(found, layer(x, scale=3.0), rtol=1e-6)
    assert list(opening.weights) == ["offset"]


def test_mixed_precision_reads_weights_as_the_layer_does():
    node = called(Shifting(dtype="mixed_bfloat16"))
    opening = opened(node, [(None, 5, 8)])
    assert opening.outputs[0].dtype == node.output_tensors[0].dtype
    assert opening.weights["offset"][1].dtype == "bfloat16"


def test_shapes_may_be_more_definite():
    node = called(opaque.CausalBlock(2))
    with pytest.raises(OpeningError):
        opened(node, [(None, 5, 8)])
    assert opened(node, [(3, 5, 8)]).outputs[0].shape == (3, 5, 8)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (opaque.Branching(), "symbolic"),
        (Listed(), "none of its attributes holds"),
        (Tabled(), "it uses the weight .*embeddings"),
    ],
)
def test_what_stops_it_is_one_line(layer, message):
    node = called(layer)
    with pytest.raises(OpeningError, match=message) as error:
        opened(node, [(None, 5, 8)])
    assert "\n" not in str(error.value)
    assert "symbolic_call" not in vars(layer), "the layer is as before"


def test_masks_that_come_with_inputs_stop_it():
    inputs = keras.Input((5,), dtype="int32")
    embedded = layers.Embedding(9, 8, mask_zero=True)(inputs)
    layer = Shifting()
    layer.supports_masking = True
    keras.Model(inputs, layer(embedded))
    with pytest.raises(OpeningError, match="masks"):
        opened(first_call(layer), [(None, 5, 8)])
