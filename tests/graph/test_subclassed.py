"""Subclassed models are read as functional ones of the same weights, pruned, and stay of their class."""

import threading
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import tfprune
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.graph import (
    ModelClassWarning,
    channel_groups,
    complexity,
    convert,
    functional_model,
    masks_of,
    prunable_weights,
    slim,
)
from tfprune.graph.calls import model_calls

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(6, 6, 6, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
CLASS_LOST = pytest.mark.filterwarnings("ignore::tfprune.graph.ModelClassWarning")


class Network(keras.Model):
    """A convolutional network with a training step and a metric of its own."""

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.convs = [layers.Conv2D(width, 3, padding="same", name=f"conv_{index}") for index in range(2)]
        self.norms = [layers.BatchNormalization(name=f"norm_{index}") for index in range(2)]
        self.drop = layers.Dropout(0.5, name="drop")
        self.head = layers.Dense(3, name="head")
        self.largest = keras.metrics.Mean(name="largest")
        self.width = width

    def call(self, x, training=None):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = ops.relu(norm(conv(x), training=training))
        return self.head(self.drop(ops.mean(x, (1, 2)), training=training))

    def train_step(self, data):
        logs = super().train_step(data)
        self.largest.update_state(ops.max(ops.abs(self.head.kernel)))
        return {**logs, "largest": self.largest.result()}


class Block(keras.Model):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.outer = layers.Dense(width, activation="relu", name="inner"), layers.Dense(6, name="outer")
        self.drop = layers.Dropout(0.3)

    def call(self, x, training=False):
        return x + self.drop(self.outer(self.inner(x)), training=training)


class Blocks(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = {name: Block(8, name=name) for name in ("low", "high")}
        self.head = layers.Dense(2, name="head")

    def call(self, x, training=False):
        for block in self.blocks.values():
            x = block(x, training=training)
        return self.head(x)


class Reader(keras.Model):
    """Takes a dict, masks what it reads, and returns a dict."""

    def __init__(self):
        super().__init__()
        self.embed = layers.Embedding(10, 6, mask_zero=True, name="embed")
        self.read, self.side = layers.LSTM(5, name="read"), layers.Dense(4, activation="relu", name="side")
        self.head = layers.Dense(2, name="head")

    def call(self, inputs):
        read = self.read(self.embed(inputs["words"]))
        return {"classes": self.head(ops.concatenate([read, self.side(inputs["values"])], -1)), "read": read}


WORDS = {"words": np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 7]]), "values": np.ones((3, 3), np.float32)}


def words():
    return {"words": keras.Input((4,), dtype="int32", name="any"), "values": keras.Input((3,), name="other")}


def called(model, x):
    """Builds a model by a call, and gives it random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says where it does not know shapes without running the code
        model(x)
    rng = np.random.default_rng(2)
    for weight in model.weights:
        random = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(random) + 0.2 if "variance" in weight.path else random)
    return model


def rows_model(code, prepare=lambda model: None, base=keras.Model):
    """Returns a model of one hidden layer with other code, called on `ROWS`."""

    class Mine(base):
        def __init__(self):
            super().__init__(name="mine")
            self.hidden, self.head = layers.Dense(6, name="hidden"), layers.Dense(2, name="head")
            prepare(self)

    Mine.call = code
    return called(Mine(), ROWS)


def state_of(model):
    """Returns what Keras notes in a model's layers, and their weights' values."""
    parts = list(model._flatten_layers())
    notes = [(len(each._inbound_nodes), len(each._outbound_nodes), set(vars(each)), each.trainable) for each in parts]
    return notes, [np.asarray(weight).tobytes() for weight in model.weights]


def close(found, expected):
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------ the functional model


@pytest.mark.parametrize(
    ("make", "x", "inputs"),
    [
        (Network, IMAGES, None),
        (Network, IMAGES, keras.Input((6, 6, 3))),
        (Blocks, ROWS, None),
        (Reader, WORDS, words()),
    ],
)
def test_the_functional_model_has_the_same_weights_and_outputs(make, x, inputs):
    model = called(make(), x)
    before = state_of(model)
    functional = functional_model(model, inputs)
    assert state_of(model) == before
    assert isinstance(functional, type(model))
    assert all(one is other for one, other in zip(functional.weights, model.weights, strict=True))
    assert all(
        one is other for one, other in zip(functional.trainable_variables, model.trainable_variables, strict=True)
    )
    close(functional(x), model(x))
    assert keras.tree.map_structure(np.shape, functional(x)) == keras.tree.map_structure(np.shape, model(x))
    assert functional_model(functional) is functional


def test_tuples_of_inputs_and_several_outputs():
    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.left, self.right = layers.Dense(4, name="left"), layers.Dense(4, name="right")

        def call(self, inputs):
            one, (two, three) = inputs
            return self.left(one) + self.right(two), three

    x = (ROWS, [ROWS * 2, ROWS[:, :2]])
    model = called(Pair(), x)
    functional = functional_model(model, (keras.Input((6,)), [keras.Input((6,)), keras.Input((2,))]))
    close(functional(x), model(x))


def test_names_are_those_of_the_layers():
    functional = functional_model(called(Network(), IMAGES))
    assert [layer.name for layer in functional.layers] == [
        *("inputs", "conv_0", "norm_0", "conv_1", "norm_1", "drop", "head"),
    ]
    assert functional.get_layer("conv_1") is functional.convs[1]
    others = functional_model(called(Network(), IMAGES), keras.Input((6, 6, 3)))
    assert [call.name for call in model_calls(others)] == [call.name for call in model_calls(functional)]
    assert [call.name for call in model_calls(functional)][3:7:3] == ["relu", "relu_1"]
    assert functional_model(called(Network(), IMAGES), keras.Input((6, 6, 3), name="mine")).input.name == "mine"
    blocks = [call.name for call in channel_groups(functional_model(called(Blocks(), ROWS))).calls]
    assert {"low/inner", "high/outer", "head"} <= set(blocks)


def test_training_one_model_trains_the_other():
    model = called(Network(), IMAGES)
    model.compile("adam", "mse")
    model.fit(IMAGES, np.zeros((6, 3)), verbose=0)
    functional = functional_model(model)
    assert functional.optimizer is model.optimizer
    before = np.asarray(model.head.kernel)
    logs = functional.fit(IMAGES, np.zeros((6, 3)), verbose=0).history
    assert np.any(np.asarray(model.head.kernel) != before)
    assert {"loss", "largest"} <= set(logs)
    assert int(model.optimizer.iterations) == 2


def test_an_optimizer_without_state_stays_without():
    model = called(Network(), IMAGES)
    model.compile("adam", "mse")
    functional = functional_model(model)
    assert functional.optimizer.built
    assert not model.optimizer.built


def test_dropout_and_batch_statistics_follow_training():
    model = called(Network(), IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        functional = functional_model(model)
    moving = np.asarray(model.norms[0].moving_mean)
    assert np.abs(functional(IMAGES, training=True) - functional(IMAGES, training=True)).max() > 0
    assert np.any(np.asarray(model.norms[0].moving_mean) != moving)
    close(functional(IMAGES), functional(IMAGES, training=False))


@pytest.mark.parametrize(
    ("code", "prepare", "text"),
    [
        (
            lambda self, x, training=False: self.head(self.hidden(x + 1) if training else self.hidden(x)),
            lambda model: None,
            "in training it runs the layers that it runs in inference",
        ),
        (
            lambda self, x, training=False: self.head(self.norm(self.hidden(x), training=False)),
            lambda model: setattr(model, "norm", layers.BatchNormalization(name="norm")),
            "norm, head heed training, although its code says training=False there",
        ),
        (
            lambda self, x: (self.add_loss(ops.sum(self.hidden(x))), self.head(self.hidden(x)))[1],
            lambda model: None,
            "losses that its call adds are left out",
        ),
    ],
)
def test_a_warning_says_what_is_lost(code, prepare, text):
    model = rows_model(code, prepare)
    with pytest.warns(ModelClassWarning, match=rf"mine \(Mine\): {text}"):
        functional = functional_model(model)
    close(functional(ROWS), model(ROWS))


def test_attributes_that_cannot_be_copied_are_shared():
    def prepare(model):
        model.lock, model.both = threading.Lock(), [model.hidden, model.hidden]

    model = rows_model(lambda self, x: self.head(self.both[1](self.hidden(x))), prepare)
    functional = functional_model(model)
    assert functional.lock is model.lock
    assert functional.both[0] is functional.both[1] is functional.hidden is not model.hidden
    assert [call.name for call in model_calls(functional)].count("hidden") == 2


def test_other_arguments_of_call_are_refused_rather_than_ignored():
    functional = functional_model(rows_model(lambda self, x, scaled=False: self.head(self.hidden(x)) * (1 + scaled)))
    with pytest.raises(TypeError, match="scaled"):
        functional(ROWS, scaled=True)


@pytest.mark.parametrize(
    "code",
    [
        lambda self, x: self.head(ops.reshape(self.hidden(x), (ops.shape(x)[0], -1))),
        lambda self, x: self.head(ops.reshape(ops.reshape(self.hidden(x), (ops.shape(x)[0], 2, 3)), (-1, 6))),
    ],
)
def test_reshapes_by_the_number_of_examples_run_on_any_number(code):
    model = rows_model(code)
    functional = functional_model(model)
    for x in (ROWS, ROWS[:2]):
        close(functional(x), model(x))


def test_code_that_must_know_the_number_of_examples_gets_it():
    model = rows_model(lambda self, x: self.head(self.hidden(x) * ops.ones((ops.shape(x)[0], 1))))
    with pytest.raises(UnsupportedLayerError, match=r"number of examples: give inputs=keras.Input\(batch_shape="):
        functional_model(model)
    close(functional_model(model, keras.Input(batch_shape=(5, 6)))(ROWS), model(ROWS))


# ------------------------------------------------------------ what is refused


def with_scale(model):
    model.scale = model.add_weight(shape=(6,), name="scale")


def with_dropout(model):
    model.drop = layers.Dropout(0.5, name="drop")


def with_namesake(model):
    model.other = layers.Dense(6, name="hidden")


@pytest.mark.parametrize(
    ("code", "prepare", "text"),
    [
        (
            lambda self, x: self.head(x) if ops.max(x) > 0 else self.head(self.hidden(x)),
            lambda model: None,
            "a symbolic KerasTensor cannot be used as a boolean",
        ),
        (lambda self, x: self.head(self.hidden(x) * self.scale), with_scale, "the weight scale outside of a layer"),
        (lambda self, x: self.head(self.hidden(x) * ops.exp(self.scale)), with_scale, "weight scale outside"),
        (
            lambda self, x: ops.matmul(self.head(x), ops.transpose(self.head.kernel)),
            lambda model: None,
            "the weight mine/head/kernel outside of a layer",
        ),
        (lambda self, x: self.head(x + keras.random.normal((6,))), lambda model: None, "seed_generator_state outside"),
        (lambda self, x: self.head(self.drop(x, training=True)), with_dropout, "it calls drop as in training"),
        (
            lambda self, x: self.head(self.other(self.hidden(x))),
            with_namesake,
            "two of its layers have the name hid",
        ),
        (
            lambda self, x: {"y": self.head(x), "n": ops.ones((3,))},
            lambda model: None,
            "returns something else than tensors",
        ),
    ],
)
def test_what_cannot_be_read_is_named(code, prepare, text):
    model = rows_model(code, prepare)
    before = state_of(model)[0]
    with pytest.raises(UnsupportedLayerError, match=rf"(?i)received mine \(Mine\): .*{text}"):
        functional_model(model, keras.Input((6,)))
    assert state_of(model)[0] == before


def test_models_without_weights_inputs_or_layers_say_what_to_do():
    with pytest.raises(UnsupportedLayerError, match=r"whose weights do not exist yet; call it on a batch first"):
        functional_model(Network(), keras.Input((6, 6, 3)))
    with pytest.raises(ConfigError, match=r"inputs: expected keras.Input\(shape\), .*received 6 \(int\)"):
        functional_model(called(Network(), IMAGES), (6, 6, 3))
    with pytest.raises(UnsupportedLayerError, match="it looks up whole numbers; give them: inputs="):
        functional_model(called(Reader(), WORDS))
    with pytest.raises(ConfigError, match="inputs: expected none, as plain has a graph with its own"):
        functional_model(keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="plain"), keras.Input((2,)))
    with pytest.raises(UnsupportedLayerError, match=r"received 'net\.keras'"):
        functional_model("net.keras")
    unbuilt = Network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that layers are not built
        unbuilt.build((None, 6, 6, 3))
    with pytest.raises(UnsupportedLayerError, match="weights of its layer conv_0 are none of the model's; call"):
        functional_model(unbuilt)


# ------------------------------------------------------------ pruning


def without(model, name, kept):
    """Lets a model of one's own ignore channels of a convolution: what reads them gets zeros."""
    gone = np.setdiff1d(np.arange(8), kept)
    following = {"conv_0": model.convs[1], "conv_1": model.head}[name]
    kernel = np.asarray(following.kernel).copy()
    np.moveaxis(kernel, -2, 0)[gone] = 0
    following.kernel.assign(kernel)


@CLASS_LOST
def test_the_pruned_model_equals_the_users_own_with_zeros():
    model = called(Network(), IMAGES)
    before = state_of(model)
    plan = tfprune.plan_channels(model, "l2", flops=0.5)
    small = plan.apply()
    assert state_of(model) == before
    assert small.count_params() == plan.after.params < model.count_params()
    for name, kept in plan.keep.items():
        without(model, name, kept)
    close(small(IMAGES), model(IMAGES))
    close(small.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))


def test_the_pruned_model_is_of_the_users_class(tmp_path):
    model = called(Network(), IMAGES)
    model.compile("adam", "mse", metrics=["mae"])
    with pytest.warns(ModelClassWarning, match=r"\(Network\): its copy is saved as a plain model"):
        small = tfprune.prune_channels(model, flops=0.5)
    assert isinstance(small, Network)
    assert small.width == 8
    assert [conv.filters for conv in small.convs] == [small.get_layer(f"conv_{i}").filters for i in range(2)]
    assert small.head is small.get_layer("head")
    logs = small.fit(IMAGES, np.zeros((6, 3)), verbose=0).history
    assert logs["largest"][0] == pytest.approx(np.abs(small.head.kernel).max(), rel=0.1)
    assert small.largest is not model.largest
    small.save(tmp_path / "small.keras")
    plain = keras.models.load_model(tmp_path / "small.keras")
    assert not isinstance(plain, Network)
    close(plain(IMAGES), small(IMAGES))
    small.save_weights(tmp_path / "small.weights.h5")
    again = small.get_weights()
    small.set_weights([np.zeros_like(each) for each in again])
    small.load_weights(tmp_path / "small.weights.h5")
    assert all(np.array_equal(one, other) for one, other in zip(small.get_weights(), again, strict=True))
    smaller = tfprune.prune_channels(small, flops=0.5)
    assert isinstance(smaller, Network)
    assert smaller.count_params() < small.count_params()


@CLASS_LOST
def test_nested_subclassed_models_are_opened():
    model = called(Blocks(), ROWS)
    plan = tfprune.plan_channels(model, params=0.8, ignore=model.blocks["high"])
    assert plan.ignore == ("high/inner", "high/outer")
    small = plan.apply()
    assert len(plan.keep["low/inner"]) < len(plan.keep["high/inner"]) == 8
    kernel = np.asarray(model.blocks["low"].outer.kernel).copy()
    kernel[np.setdiff1d(np.arange(8), plan.keep["low/inner"])] = 0
    model.blocks["low"].outer.kernel.assign(kernel)
    close(small(ROWS), model(ROWS))


@CLASS_LOST
def test_plans_fit_other_instances_of_the_class():
    class Automatic(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(8, activation="relu"), layers.Dense(2)

        def call(self, x):
            return self.second(self.first(x))

    one, two = called(Automatic(), ROWS), called(Automatic(), ROWS)
    two.first.kernel.assign(one.first.kernel * 2)
    plan = tfprune.PruningPlan.from_json(tfprune.plan_channels(one, density=0.5).to_json())
    small = plan.apply(two, match="position")
    (kept,) = plan.keep.values()
    np.testing.assert_array_equal(small.first.kernel, np.asarray(two.first.kernel)[:, kept])


@CLASS_LOST
def test_steps_data_and_optimizers():
    model = called(Network(), IMAGES)
    model.compile("adam", "mse")
    model.fit(IMAGES, np.zeros((6, 3)), verbose=0)
    seen = []

    def between(small, step):
        seen.append((step, isinstance(small, Network)))
        small.fit(IMAGES, np.zeros((6, 3)), verbose=0)

    data, history = (IMAGES, np.zeros((6, 3), np.float32)), tfprune.PruningHistory()
    small = tfprune.prune_channels(
        model,
        "taylor",
        params=0.5,
        data=data,
        steps=2,
        between=between,
        reweight=IMAGES,
        keep_optimizer=True,
        history=history,
        inputs=keras.Input((6, 6, 3)),
    )
    assert seen == [(1, True)]
    assert int(small.optimizer.iterations) == 2
    assert history.replay(model).count_params() == small.count_params() < 0.5 * model.count_params() + 1


@CLASS_LOST
def test_masks_of_weights():
    model = called(Network(), IMAGES)
    assert list(prunable_weights(model)) == ["conv_0/kernel", "conv_1/kernel", "head/kernel"]
    assert prunable_weights(model)["head/kernel"] is model.head.kernel
    assert list(prunable_weights(model, ignore=model.convs[0])) == ["conv_1/kernel", "head/kernel"]
    masks = tfprune.criteria.Magnitude()(model, 0.25)
    sparse = convert(model, "masked", masks)
    assert isinstance(sparse, Network)
    assert masks_of(sparse).counts == masks.counts
    for name, kernel in prunable_weights(model).items():
        kernel.assign(kernel * masks[name])
    close(sparse(IMAGES), model(IMAGES))
    close(convert(sparse, "plain")(IMAGES), model(IMAGES))


def test_costs_and_groups():
    model = called(Network(), IMAGES)
    positions = 36
    macs = positions * (9 * 3 * 8 + 9 * 8 * 8) + 8 * 3
    assert complexity(model, inputs=keras.Input((6, 6, 3))).macs == macs
    assert complexity(model).params == model.count_params()
    assert [(group.name, group.size) for group in channel_groups(model)] == [("conv_0", 8), ("conv_1", 8)]
    functional = functional_model(model)
    groups = channel_groups(functional)
    with pytest.warns(ModelClassWarning):
        assert isinstance(slim(functional, np.arange(16) % 2 == 0, groups), Network)
