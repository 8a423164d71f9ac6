import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfprune
from tests.models import dense_chain
from tfprune.errors import ConfigError, UnsupportedLayerError
from tfprune.landscape import LandscapeSettings, Section, measure, section
from tfprune.landscape.directions import FilterDirections
from tfprune.landscape.objective import Objective

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 6, 6, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 30)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(momentum=0.9, dropout=0.5):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(momentum=momentum, name="norm")(x))
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(3, name="fc")(x), name="net")
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 1.5, 4), *random.standard_normal((2, 4)), np.ones(4)]
    model.get_layer("norm").set_weights(weights)
    return model


def moved(model, offset, seed=7):
    """A copy of a model whose weights went `offset` times along the first direction."""
    parts = FilterDirections(model, model.trainable_variables, seed).draw()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for variable, part in zip(copy.trainable_variables, parts, strict=True):
        variable.assign(variable.numpy() + offset * part)
    return copy


# ------------------------------------------------------------ equal to models with these weights


def test_moving_averages_give_the_evaluation_of_a_model_with_these_weights():
    model = network()
    found = section(model, (X, Y), directions=1, points=5, radius=0.8, batch_norm="moving", seed=7, progress=False)
    np.testing.assert_allclose(found.steps, [-0.8, -0.4, 0, 0.4, 0.8])
    for step, loss in zip(found.steps, found.losses[0], strict=True):
        other = moved(model, step)
        other.compile(loss=LOSS)
        assert loss == pytest.approx(other.evaluate(X, Y, verbose=0), rel=1e-5)
    assert found.center == found.losses[0][2]
    assert (found.examples, found.dimensions, found.batch_norm) == (30, 1, "moving")


def test_batch_statistics_give_the_loss_of_training_on_each_batch():
    model = network(dropout=0.0)
    batches = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    found = section(model, batches, directions=1, points=3, seed=7, progress=False)
    for step, loss in zip(found.steps, found.losses[0], strict=True):
        other = moved(model, step)
        losses = [float(LOSS(y, other(x, training=True))) * len(y) / 30 for x, y in batches]
        assert loss == pytest.approx(sum(losses), rel=1e-5)
    assert found.batch_norm == "batch"


def test_recalibrated_averages_are_those_of_the_data_at_each_point():
    model = network(momentum=0.0, dropout=0.0)  # so a pass in training mode stores the statistics of the batch
    found = section(model, [(X, Y)], directions=1, points=3, batch_norm="recalibrated", seed=7, progress=False)
    for step, loss in zip(found.steps, found.losses[0], strict=True):
        other = moved(model, step)
        other(X, training=True)
        assert loss == pytest.approx(float(LOSS(Y, other(X))), rel=1e-5)


def test_a_plane_has_the_sections_of_its_directions():
    model = network()
    plane = section(model, (X, Y), dimensions=2, points=5, seed=7, progress=False)
    lines = section(model, (X, Y), directions=2, points=5, seed=7, progress=False)
    assert plane.losses.shape == (1, 5, 5)
    np.testing.assert_allclose(plane.losses[0, :, 2], lines.losses[0], rtol=1e-6)
    np.testing.assert_allclose(plane.losses[0, 2, :], lines.losses[1], rtol=1e-6)
    corner = Objective(model, (X, Y))
    directions = FilterDirections(model, model.trainable_variables, 7)
    first, second = directions.draw(), directions.draw()
    weights = [w + 0.5 * a - 0.25 * b for w, a, b in zip(corner.start, first, second, strict=True)]
    assert plane.losses[0, 4, 1] == pytest.approx(corner.value(weights), rel=1e-6)


def test_the_second_difference_of_a_section_is_the_hessian_along_the_direction():
    model = network()
    found = section(model, (X, Y), directions=1, points=3, radius=1e-5, dtype="float64", seed=7, progress=False)
    objective = Objective(model, (X, Y), dtype="float64")
    parts = FilterDirections(model, model.trainable_variables, 7).draw()
    vector = np.concatenate([part.ravel() for part in parts])
    bend = (found.losses[0, 0] - 2 * found.center + found.losses[0, 2]) / 1e-10
    assert vector @ objective.hessian_product(vector) == pytest.approx(bend, rel=1e-3)


# ------------------------------------------------------------ the number


def test_the_fluctuation_is_the_root_mean_square_of_the_change():
    losses = np.array([[2.0, 1.0, 3.0], [1.0, 1.0, 1.0], [4.0, 1.0, 1.0]])
    found = Section(np.array([-1.0, 0, 1]), losses, 1.0, "batch", 10, 0)
    np.testing.assert_allclose(found.fluctuations, np.sqrt([2.5, 0, 4.5]))
    assert found.fluctuation == pytest.approx(np.mean(np.sqrt([2.5, 0, 4.5])))
    assert found.standard_error == pytest.approx(np.std(np.sqrt([2.5, 0, 4.5]), ddof=1) / np.sqrt(3))
    assert np.isnan(Section(found.steps, losses[:1], 1.0, "batch", 10, 0).standard_error)
    plane = np.full((1, 3, 3), 3.0)
    plane[0, 1, 1] = 1.0
    assert Section(found.steps, plane, 1.0, "batch", 10, 0).fluctuation == pytest.approx(2)


def test_a_scale_before_a_batch_norm_does_not_matter_with_batch_statistics():
    model = network()
    model.get_layer("norm").epsilon = 1e-12
    modes = ("batch", "recalibrated", "moving")

    def sections():
        return {mode: section(model, (X, Y), directions=3, points=3, batch_norm=mode, progress=False) for mode in modes}

    before = sections()
    model.get_layer("conv").kernel.assign(10 * model.get_layer("conv").kernel)
    for mode, new in sections().items():
        assert np.allclose(new.losses, before[mode].losses, rtol=1e-4) == (mode != "moving")


# ------------------------------------------------------------ reproducible, and nothing changes


def test_seeds():
    model = network()
    settings = {"points": 3, "progress": False}
    three = section(model, (X, Y), directions=3, seed=1, **settings)
    two = section(model, (X, Y), directions=2, seed=1, **settings)
    np.testing.assert_array_equal(three.losses[:2], two.losses)
    other = section(model, (X, Y), directions=2, seed=2, **settings)
    assert not np.isclose(other.losses[:, 0], two.losses[:, 0]).any()


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("batch_norm", ["batch", "moving", "recalibrated"])
def test_the_model_is_never_changed(monkeypatch, batch_norm, interrupted):
    model = network()
    model.compile("sgd", LOSS)
    before = [np.copy(each) for each in model.get_weights()]
    real, calls = Objective.value, []

    def value(self, weights):
        calls.append(weights)
        if interrupted and len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, weights)

    monkeypatch.setattr(Objective, "value", value)
    try:
        section(model, (X, Y), directions=1, points=5, batch_norm=batch_norm, progress=False)
    except KeyboardInterrupt:
        assert interrupted
    assert len(calls) == (3 if interrupted else 5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.loss is LOSS


def test_the_compiled_loss_is_taken():
    model = dense_chain(4, (3,))
    x, y = RNG.standard_normal((10, 4)).astype(np.float32), RNG.standard_normal((10, 3)).astype(np.float32)
    model.compile(loss="mae")
    found = section(model, (x, y), directions=1, points=3, progress=False)
    assert found.center == pytest.approx(np.abs(model(x) - y).mean(), rel=1e-6)
    given = section(model, (x, y), loss="mse", directions=1, points=3, progress=False)
    assert given.center == pytest.approx(np.square(model(x) - y).mean(), rel=1e-6)


DATA = {
    "arrays": lambda: (X, Y),
    "list": lambda: [(X[:12], Y[:12]), (X[12:], Y[12:])],
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(8),
    "mappings": lambda: [{"images": X, "labels": Y}],
    "shuffled again in each pass": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(30).batch(7),
}


@pytest.mark.parametrize("form", DATA)
def test_data_in_every_form(form):
    expected = section(network(), [(X, Y)], directions=1, points=3, batch_norm="moving", progress=False)
    found = section(network(), DATA[form](), directions=1, points=3, batch_norm="moving", progress=False)
    assert found.examples == 30
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)


def test_data_are_read_once():
    passes = []

    class Counted:
        def __iter__(self):
            passes.append(1)
            return iter([(X, Y)])

    section(network(), Counted(), directions=1, points=5, progress=False)
    assert len(passes) == 1


# ------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 4}, "--points: expected an odd number, as the center is one of them, received 4"),
        ({"points": 1}, "--points: expected a value from 3 to 1001, received 1"),
        ({"points": 10**9 + 1}, "--points: expected a value from 3 to 1001, received 1000000001"),
        ({"directions": 10**6}, "--directions: expected a value from 1 to 10000, received 1000000"),
        ({"dimensions": 3}, "--dimensions: expected a value from 1 to 2, received 3"),
        ({"directions": 0}, "--directions: expected a value from 1 to 10000, received 0"),
        ({"radius": 0.0}, "--radius: expected a value above 0, received 0.0"),
        ({"radius": float("inf")}, "--radius: expected a finite number, received inf"),
        ({"seed": -1}, "--seed: expected a value of at least 0, received -1"),
        ({"batches": 0}, "batches: expected a whole number from 1 to 2147483647, received 0 (int)"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    with pytest.raises(ConfigError) as raised:
        section(network(), (X, Y), progress=False, **settings)
    assert str(raised.value) == message


def test_data_and_models_that_cannot_be_used():
    with pytest.raises(ConfigError, match=r"expected batches \(x, y\), received inputs without labels"):
        section(network(), (X, None), progress=False)
    with pytest.raises(ConfigError, match="expected a finite loss, received nan at the center"):
        section(network(), (X, Y), loss=lambda y, outputs: outputs * np.nan, progress=False)
    with pytest.raises(ConfigError, match="away from the center; try a smaller radius"):
        section(network(), (X, Y), radius=1e30, points=3, batch_norm="moving", progress=False)

    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(UnsupportedLayerError, match=r"a functional or sequential model, received own\w* \(Own\)"):
        section(Own(), (X, Y), progress=False)


# ------------------------------------------------------------ files


@pytest.fixture(params=[1, 2])
def some(request):
    steps = np.array([-1.0, 0, 1])
    losses = np.arange(18.0).reshape(2, 3, 3)[:, :, slice(None) if request.param == 2 else 0]
    return Section(steps, losses, 4.5, "moving", 10, 3)


def test_saved_and_read_again(some, tmp_path):
    some.save(tmp_path / "section.json")
    read = Section.load(tmp_path / "section.json")
    np.testing.assert_array_equal(read.steps, some.steps)
    np.testing.assert_array_equal(read.losses, some.losses)
    assert (read.center, read.batch_norm, read.examples, read.seed) == (4.5, "moving", 10, 3)
    assert json.loads((tmp_path / "section.json").read_text())["losses"] == some.losses.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "expected object, got array"),
        ({"steps": []}, "steps: expected array of length >= 1"),
        ({"steps": [None]}, "steps[0]: expected float, got null"),
        ({"losses": [1, 2]}, "losses[0]: expected array, got int"),
        ({"losses": [[1, 2]]}, "losses: expected numbers for each of the 3 steps"),
        ({"losses": [[1, 2, "3"]]}, "losses: expected numbers for each of the 3 steps"),
        ({"losses": [[1, 2, None]]}, "losses: expected numbers for each of the 3 steps"),
        ({"losses": [[1, 2, 10**30]]}, "losses: expected numbers for each of the 3 steps"),
        ({"losses": [[[1], [2], [3]]]}, "losses: expected numbers for each of the 3 steps"),
        ({"losses": [[1, 2, 3], [1, 2]]}, "inhomogeneous"),
        ({"batch_norm": "other"}, "batch_norm: invalid enum value"),
        ({"examples": 0}, "examples: expected int >= 1"),
        ({"seed": -1}, "seed: expected int >= 0"),
        ({"more": 1}, "got 'more', too"),
    ],
    ids=repr,
)
def test_what_is_no_section(change, message, tmp_path):
    file = tmp_path / "section.json"
    Section(np.arange(3.0), np.ones((2, 3)), 4.5, "moving", 10, 3).save(file)
    file.write_text(json.dumps(change if isinstance(change, list) else json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError) as caught:
        Section.load(file)
    said = str(caught.value)
    assert said.startswith(f"cannot read {file}: expected a section that tfprune saved, ")
    assert message in said
    assert said.endswith("; name another file")


def test_a_section_may_have_losses_that_are_not_finite(tmp_path):
    Section(np.arange(3.0), np.array([[1, np.nan, np.inf]]), 4.5, "moving", 10, 3).save(tmp_path / "section.json")
    np.testing.assert_array_equal(Section.load(tmp_path / "section.json").losses, [[1, np.nan, np.inf]])
    with pytest.raises(ConfigError, match="No such file"):
        Section.load(tmp_path / "none.json")


def test_pictures(some, tmp_path):
    for name, start in (("section.png", b"\x89PNG"), ("section.svg", b"<?xml")):
        some.plot(tmp_path / name, title="net")
        assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ConfigError, match=r"expected a kind of picture that matplotlib writes, received .*section\.x"):
        some.plot(tmp_path / "section.x")


def test_tables():
    losses = np.array([[2.0, 1.0, 3.0], [1.0, 1.0, 1.0]])
    assert Section(np.array([-1.0, 0, 1]), losses, 1.0, "batch", 10, 0).table().splitlines() == [
        "step  mean loss   least  largest",
        "   0     1.0000  1.0000   1.0000",
        "   1     1.7500  1.0000   3.0000",
        "fluctuation 0.7906 ± 0.79 over 2 directions",
    ]
    plane = np.ones((1, 3, 3))
    plane[0, 0, 1] = 10
    assert Section(np.array([-1.0, 0, 1]), plane, 1.0, "batch", 10, 0).table().splitlines()[2:] == [
        "   1     2.1250  1.0000  10.0000",
        "fluctuation 3.182 over 1 plane",
    ]


# ------------------------------------------------------------ both in one call


def test_measure_gives_both():
    model = network()
    settings = LandscapeSettings(directions=2, points=3, seed=5, batch_norm="moving")
    found = measure(model, (X, Y), settings, progress=False)
    alone = section(model, (X, Y), directions=2, points=3, seed=5, batch_norm="moving", progress=False)
    np.testing.assert_array_equal(found.section.losses, alone.losses)
    ends = tfprune.landscape.curvature(model, (X, Y), batch_norm="moving", seed=5, progress=False)
    assert found.curvature == ends
    assert found.numbers == {
        "center_loss": alone.center,
        "fluctuation": alone.fluctuation,
        "fluctuation_error": alone.standard_error,
        "hessian_min": ends.smallest,
        "hessian_max": ends.largest,
        "hessian_ratio": ends.ratio,
    }
    assert found.table() == f"{alone.table()}\n\n{ends.table()}"
    short = measure(model, (X, Y), LandscapeSettings(hessian=False, directions=1, points=3), progress=False)
    assert short.curvature is None
    assert list(short.numbers) == ["center_loss", "fluctuation", "fluctuation_error"]


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        ((X, Y + 100), None, "labels: expected whole numbers from 0 to .* first at .0.: 10"),
        ((X, Y), "mean_squared_error", "expected labels of shape .* for the loss mean_squared_error"),
        ((X, Y), "categorical_crossentropy", "expected labels of shape .* for the loss categorical_crossentropy"),
        ((np.concatenate([X, X], axis=-1), Y), None, "the input .* expected arrays of shape"),
    ],
)
def test_labels_and_inputs_that_do_not_fit_are_one_line(data, loss, message):
    with pytest.raises(ConfigError, match="^data: " + message) as raised:
        section(network(), data, loss=loss, progress=False)
    assert "\n" not in str(raised.value)


def test_what_is_no_model():
    with pytest.raises(UnsupportedLayerError, match=r"expected a functional or sequential model, received 'x'"):
        section("x", (X, Y), progress=False)
