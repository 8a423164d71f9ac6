"""Models of a class of one's own: what copies of them keep, and what a warning says is lost."""

import warnings

import keras
import numpy as np
import pytest

import tfprune
from tfprune.graph import ModelClassWarning, convert, slim

layers = keras.layers
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(8, 6)).astype(np.float32)
LABELS = RNG.normal(size=(8, 3)).astype(np.float32)


@keras.saving.register_keras_serializable("tests")
class Distiller(keras.Model):
    """Learns from a teacher."""

    def compile(self, optimizer, alpha=0.1, **settings):
        super().compile(optimizer, **settings)
        self.alpha = alpha
        self.gap = keras.metrics.Mean(name="gap")

    def train_step(self, data):
        x, y = data
        gap = keras.ops.mean(keras.ops.square(self.teacher(x) - self(x, training=True))) * self.alpha
        self.gap.update_state(gap)
        return {**super().train_step((x, y)), "gap": self.gap.result()}

    def test_step(self, data):
        return {"mine": keras.ops.convert_to_tensor(7.0)}


class Task(keras.Model):
    """Makes its own layers, as the tasks of KerasHub do."""

    def __init__(self, backbone, classes, **kwargs):
        self.head = layers.Dense(classes, name="head")
        self.backbone = backbone
        super().__init__(backbone.input, self.head(backbone.output), **kwargs)
        self.classes = classes
        self.symbolic = {"features": backbone.output}

    def get_config(self):
        return {"backbone": keras.layers.serialize(self.backbone), "classes": self.classes}

    def ranked(self, x):
        return np.argsort(self.predict(x, verbose=0), axis=-1)


class Backbone(keras.Model):
    """Makes its own layers, too."""

    def __init__(self, width, **kwargs):
        inputs = keras.Input((6,))
        hidden = layers.Dense(width, activation="relu", name="hidden")
        super().__init__(inputs, layers.Dense(8, activation="relu", name="last")(hidden(inputs)), **kwargs)
        self.width, self.hidden = width, hidden


class Counting(keras.Sequential):
    """A sequential model with a training step of its own."""

    def train_step(self, data):
        return {"mine": keras.ops.convert_to_tensor(1.0)}


class Alternating(keras.Model):
    """Has further layers that are trained, an optimizer, methods and plain values."""


def teacher(trainable=False) -> keras.Model:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)], name="teacher")
    model.trainable = trainable
    return model


def distiller() -> Distiller:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = layers.Dense(16, activation="relu", name="hidden")(inputs)
    model = Distiller(inputs, layers.Dense(3, name="out")(hidden), name="student")
    model.teacher = teacher()
    model.compile(keras.optimizers.SGD(0.1), alpha=0.5, loss="mse", metrics=["mae"])
    return model


COPIES = {
    "pruned": lambda model: tfprune.prune_channels(model, density=0.5),
    "in steps": lambda model: tfprune.prune_channels(
        model, density=0.5, steps=2, between=lambda model, _: model.fit(VALUES, LABELS, verbose=0) and None
    ),
    "carried": lambda model: tfprune.plan_channels(model, "l2", density=0.5).apply(keep_optimizer=True),
    "plain": lambda model: convert(model, "plain"),
    "masked": lambda model: convert(model, "masked"),
    "psg": lambda model: convert(model, "psg"),
    "subnet": lambda model: convert(model, "subnet", density=0.5),
    "masked and back": lambda model: convert(convert(model, "masked"), "plain"),
    "bfloat16": lambda model: convert(model, "plain", dtype="mixed_bfloat16"),
}


@pytest.mark.parametrize("name", COPIES)
def test_training_steps_and_attributes_survive(name):
    model = distiller()
    model.fit(VALUES, LABELS, verbose=0)
    before = [np.asarray(weight) for weight in model.weights]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelClassWarning)
        new = COPIES[name](model)
    assert type(new) is Distiller
    assert new.alpha == 0.5
    assert new.teacher is model.teacher
    assert new.gap is not model.gap
    assert new.name == "student"
    history = new.fit(VALUES, LABELS, verbose=0).history
    assert {"gap", "loss"} <= set(history)
    assert new.evaluate(VALUES, LABELS, verbose=0) == pytest.approx(7.0)
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight)


def test_files_are_those_of_the_class(tmp_path):
    small = tfprune.prune_channels(distiller(), density=0.5)
    del small.teacher  # Keras does not write attributes into the file
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert type(loaded) is Distiller
    np.testing.assert_allclose(loaded(VALUES), small(VALUES), rtol=1e-6)


def task() -> Task:
    keras.utils.set_random_seed(0)
    return Task(Backbone(16, name="backbone"), 3, name="task")


@pytest.mark.parametrize("name", ["pruned", "plain", "masked", "subnet"])
def test_a_class_that_makes_its_own_layers_stays_in_memory_and_is_saved_as_a_graph(name, tmp_path):
    model = task()
    with pytest.warns(ModelClassWarning) as caught:
        new = COPIES[name](model)
    (warning,) = {str(each.message) for each in caught if each.category is ModelClassWarning}
    assert "task (Task): its copy is saved as a plain model" in warning
    assert "task (Task): its copy lacks symbolic" in warning
    assert isinstance(new, Task)
    assert isinstance(new.backbone, Backbone)
    assert new.head is new.get_layer("head")
    assert new.head is not model.head
    assert new.backbone is not model.backbone
    assert new.ranked(VALUES).shape == (8, 3)
    new.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded).__name__ == "Functional"
    np.testing.assert_allclose(loaded(VALUES), new(VALUES), rtol=1e-6)


def test_the_copy_of_a_class_with_layers_of_its_own_is_cut():
    model = task()
    with pytest.warns(ModelClassWarning):
        small = tfprune.plan_channels(model, "l2", density=0.5, scope="local").apply()
    assert small.get_layer("hidden").units == 8
    assert small.count_params() < model.count_params()


def test_a_sequential_class_stays_one(tmp_path):
    model = Counting([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3)])
    model.note = {"list": [1, 2]}
    model.compile("sgd", "mse")
    for new in (tfprune.prune_channels(model, density=0.5), convert(model, "masked")):
        assert type(new) is Counting
        assert new.note == {"list": [1, 2]}
        assert new.note is not model.note
        new.compile("sgd", "mse")
        assert list(new.fit(VALUES, LABELS, verbose=0).history) == ["mine"]


def test_what_can_be_trained_is_copied_and_the_rest_is_shared():
    inputs = keras.Input((6,))
    model = Alternating(inputs, layers.Dense(3)(layers.Dense(16, "relu", name="hidden")(inputs)))
    model.first = model.layers[1]
    model.projection = [layers.Dense(2), "text"]
    model.projection[0].build((None, 16))
    model.step = keras.Variable(3.0, trainable=False, name="step")
    model.second_optimizer = keras.optimizers.Adam(0.25)
    model.second_optimizer.build(model.trainable_variables)
    model.batches = iter([1])
    model.names = {"a": 1}
    model.predicted = model.predict
    new = tfprune.prune_channels(model, density=0.5)
    assert new.first is new.get_layer("hidden")
    assert new.predicted.__self__ is new
    assert new.projection[0] is not model.projection[0]
    np.testing.assert_array_equal(new.projection[0].kernel, model.projection[0].kernel)
    assert new.step is not model.step
    assert float(new.step) == 3
    assert new.second_optimizer is not model.second_optimizer
    assert float(new.second_optimizer.learning_rate) == 0.25
    assert new.names == {"a": 1}
    assert new.names is not model.names
    assert len(new.trainable_variables) == len(model.trainable_variables) == 6


def test_a_model_of_the_same_layers_is_one_of_the_new_layers():
    model = distiller()
    model.features = keras.Model(model.input, model.get_layer("hidden").output)
    new = tfprune.prune_channels(model, density=0.5)
    assert new.features.layers[1] is new.get_layer("hidden")
    hidden = new.get_layer("hidden")
    assert hidden.units < 16
    np.testing.assert_allclose(new.features(VALUES), hidden(VALUES), rtol=1e-6)


def test_a_model_of_the_same_layers_and_others_is_named():
    model = distiller()
    model.other = keras.Model(model.input, layers.Dense(2)(model.get_layer("hidden").output))
    with pytest.warns(ModelClassWarning, match=r"student \(Distiller\): its copy lacks other"):
        new = tfprune.prune_channels(model, density=0.5)
    assert not hasattr(new, "other")


def test_global_subnets_need_their_own_class():
    with pytest.warns(ModelClassWarning, match="GlobalSubnet"):
        convert(distiller(), "subnet", density=0.5, scope="global")


@pytest.mark.parametrize("make", [keras.Model, keras.Sequential])
def test_models_of_keras_classes_are_what_they_were(make):
    inputs = keras.Input((6,))
    stack = [inputs, layers.Dense(8, "relu"), layers.Dense(3)]
    model = make(stack) if make is keras.Sequential else make(inputs, stack[2](stack[1](inputs)))
    new = tfprune.prune_channels(model, density=0.5)
    assert type(new) is type(model)


class Token(layers.Layer):
    """Keras cannot make it again: its constructor takes no name."""

    def __init__(self):
        super().__init__()

    def call(self, x):
        return x + 1


def test_what_a_file_of_a_graph_cannot_hold_is_named():
    class Tokens(keras.Model):
        def __init__(self, width):
            inputs = keras.Input((width,))
            super().__init__(inputs, layers.Dense(2)(Token()(inputs)))

    with pytest.warns(ModelClassWarning, match="saved as a plain model.*but Keras cannot load token"):
        convert(Tokens(6), "masked")


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_a_layer_that_two_graphs_share_cannot_be_in_a_file_of_a_graph(tmp_path):
    class Tied(keras.Model):
        def __init__(self, width):
            table, hidden, inputs = layers.Dense(width, name="table"), keras.Input((width,)), keras.Input((width,))
            body = keras.Model(hidden, layers.Dense(width)(table(hidden)), name="body")
            super().__init__(inputs, table(body(inputs)))

    with pytest.warns(ModelClassWarning, match="saved as a plain model.*but Keras cannot load table from it"):
        copy = convert(Tied(6), "fused")
    copy.save(tmp_path / "copy.keras")
    with pytest.raises(ValueError, match="could not be loaded"):
        keras.models.load_model(tmp_path / "copy.keras")


@keras.saving.register_keras_serializable("test_model_class")
class Configured(keras.Model):
    """Takes any arguments, and writes its graph besides the settings from which it makes layers again."""

    def __init__(self, *args, **kwargs):
        width = kwargs.get("width", 16)
        inputs = keras.Input((6,))
        hidden = layers.Dense(width, activation="relu", name="hidden")(inputs)
        super().__init__(inputs, layers.Dense(3, name="last")(hidden))
        self.width = width

    def get_config(self):
        return {**super().get_config(), "width": self.width}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(width=config["width"])


def test_a_file_that_would_have_the_old_widths_is_that_of_the_graph(tmp_path):
    model = Configured()
    whole = slim(model, np.ones(16, bool))
    assert type(whole) is Configured
    with pytest.warns(ModelClassWarning, match="its copy is saved as a plain model"):
        small = tfprune.prune_channels(model, density=0.5)
    assert isinstance(small, Configured)
    small.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(VALUES), small(VALUES), rtol=1e-6)
