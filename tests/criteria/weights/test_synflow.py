import keras
import numpy as np
import pytest

from tests.models import dense_chain
from tfprune.criteria import SynFlow
from tfprune.errors import ConfigError

layers = keras.layers


def dense_net(activation="linear", last="linear"):
    return dense_chain(4, (5, 3), activation=activation, last=last, names=("first", "second"))


def paths(model):
    """Scores of a net of two layers without biases, from the formula: the share of all paths."""
    first, second = (np.abs(np.asarray(model.get_layer(name).kernel, np.float64)) for name in ("first", "second"))
    return {
        "first/kernel": first * second.sum(1)[None, :],
        "second/kernel": second * first.sum(0)[:, None],
    }


@pytest.mark.parametrize("last", ["linear", "softmax", "sigmoid", "relu"])
@pytest.mark.parametrize("activation", ["linear", "relu", "relu6", "gelu", "silu", "elu"])
def test_scores_are_shares_of_paths(activation, last):
    model = dense_net(activation, last)
    scores = SynFlow().weight_scores(model)
    for name, expected in paths(model).items():
        np.testing.assert_allclose(scores[name], expected, rtol=1e-12)


@pytest.mark.parametrize("ending", [layers.Softmax(), layers.Activation("sigmoid"), layers.Activation("linear")])
def test_endings_as_layers(ending):
    model = dense_net()
    ended = keras.Model(model.input, ending(model.output))
    scores = SynFlow().weight_scores(ended)
    for name, expected in paths(model).items():
        np.testing.assert_allclose(scores[name], expected, rtol=1e-12)


def test_endings_in_nested_models():
    inner = dense_net(last="softmax")
    inputs = keras.Input((4,))
    scores = SynFlow().weight_scores(keras.Model(inputs, inner(inputs)))
    for name, expected in paths(inner).items():
        np.testing.assert_allclose(scores[f"{inner.name}/{name}"], expected, rtol=1e-12)


def test_a_ceiling_of_a_rectifier_is_lifted():
    model = dense_net()
    inputs = keras.Input((4,))
    x = layers.ReLU(max_value=0.1)(model.get_layer("first")(inputs))
    capped = keras.Model(inputs, model.get_layer("second")(x))
    scores = SynFlow().weight_scores(capped)
    for name, expected in paths(model).items():
        np.testing.assert_allclose(scores[name], expected, rtol=1e-12)
    assert capped.layers[2].max_value == 0.1


def test_statistics_of_batch_norms_count_by_their_size():
    def build(sign):
        inputs = keras.Input((3,))
        norm = layers.BatchNormalization(name="bn")
        x = layers.Dense(2, name="second")(norm(layers.Dense(2, name="first", use_bias=False)(inputs)))
        model = keras.Model(inputs, x)
        model.get_layer("first").kernel.assign(sign * np.array([[1.0, 2], [3, 4], [5, 6]]))
        model.get_layer("second").kernel.assign([[1, -1], [sign, 2]])
        for variable, value in zip(norm.variables, ([2, sign], [sign, 1], [sign * 0.5, 0.25], [4, 9]), strict=True):
            variable.assign(value)
        return model

    positive, negative = (SynFlow().weight_scores(build(sign)) for sign in (1.0, -1.0))
    for name in positive:
        np.testing.assert_array_equal(positive[name], negative[name])
    scale = np.array([2, 1]) / np.sqrt(np.array([4, 9]) + 1e-3)
    expected = np.array([[1, 2], [3, 4], [5, 6]]) * scale * np.array([2, 3])
    np.testing.assert_allclose(positive["first/kernel"], expected, rtol=1e-12)


def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((), dtype="int32", name="b")
    x = layers.Dense(3, name="left")(a) + layers.Embedding(5, 3, embeddings_initializer="ones")(b)
    model = keras.Model({"a": a, "b": b}, [layers.Dense(2, name="one")(x), layers.Dense(2, "softmax", name="two")(x)])
    masks = SynFlow(iterations=5)(model, 0.5)
    assert masks.kept == 12
    assert not masks.collapsed


def test_sizes_that_are_open():
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(ConfigError, match=r"any size .*; give input_shape=, such as"):
        SynFlow()(model, 0.5)
    with pytest.raises(ConfigError, match="input_shape: expected one like"):
        SynFlow(input_shape=(8, 8, 1))(model, 0.5)
    masks = SynFlow(input_shape=(8, 8, 3))(model, 0.5)
    assert masks == SynFlow()(model, 0.5, [(np.zeros((2, 8, 8, 3), np.float32), np.zeros(2))])


def test_iterations_keep_layers_that_one_step_loses():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((50,))
    for width in (200, 200, 10):
        x = layers.Dense(width, use_bias=False)(x)
    model = keras.Model(inputs, x)
    density = 0.002
    many = SynFlow(iterations=100)(model, density)
    assert not many.collapsed
    with pytest.warns(UserWarning, match="layer collapse"):
        one = SynFlow(iterations=1)(model, density)
    assert one.kept == many.kept
    assert one.collapsed


def test_one_trace_for_all_iterations(monkeypatch):
    from tfprune.criteria.weights.scoring_model import ScoringModel

    calls = []
    run = ScoringModel.__call__
    monkeypatch.setattr(
        ScoringModel, "__call__", lambda self, *args, **named: calls.append(1) or run(self, *args, **named)
    )
    SynFlow(iterations=20)(dense_net(), 0.5)
    assert len(calls) == 1
