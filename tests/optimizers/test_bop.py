"""Bop in all that trains: Keras' own loop and ours, compiled, on several devices, in mixed precision, through files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.graph import convert
from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD, Bop
from tfprune.optimizers.bop import flips, sign_trained_variables
from tfprune.pruning import prune_channels
from tfprune.recipes.training import CrossEntropy, Loop, PeriodicDecay, RunFolder

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 6, 6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 40)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS, EPOCHS = 4, 3
START = RNG.normal(size=(6, 7)).astype(np.float32)
GRADIENTS = RNG.normal(size=(8, 6, 7)).astype(np.float32)
NUMBERS = st.floats(-4, 4, width=32, allow_subnormal=False)  # TensorFlow reads subnormal numbers as 0


@keras.saving.register_keras_serializable(package="test_bop")
class Marked(keras.layers.Conv2D):
    """A convolution whose kernel carries the mark of masked layers."""

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel.masked = True


def small_model(dtype=None):
    keras.utils.set_random_seed(3)
    layers = [keras.Input((6, 6, 3)), Marked(5, 3, use_bias=False, dtype=dtype)]
    layers += [FusedBatchNormalization(momentum=0.9, dtype=dtype), keras.layers.ReLU(dtype=dtype)]
    layers += [Marked(6, 3, use_bias=False, dtype=dtype), keras.layers.ReLU(dtype=dtype)]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(dtype=dtype), keras.layers.Dense(4)])


def small_bop(**settings):
    rate = PeriodicDecay(0.3, 0.5, every_epochs=1, steps_per_epoch=STEPS)
    companion = SGD(PeriodicDecay(0.1, 0.1, 2, STEPS), 0.9, weight_decay=5e-4, momentum_form="torch")
    return Bop(**{"adaptivity_rate": rate, "threshold": 1e-3, "companion": companion, **settings})


def fit(model, epochs=EPOCHS, **settings):
    return model.fit(IMAGES, LABELS, batch_size=10, epochs=epochs, shuffle=False, verbose=0, **settings)


def fitted(jit=False, epochs=EPOCHS, **settings):
    model = small_model()
    model.compile(small_bop(**settings), LOSS, jit_compile=jit)
    fit(model, epochs)
    return model


def batches(start):
    for step in range(start, STEPS * EPOCHS):
        rows = slice(step % STEPS * 10, step % STEPS * 10 + 10)
        yield {"images": IMAGES[rows], "labels": LABELS[rows]}


def dataset(start):
    signature = {"images": tf.TensorSpec([10, 6, 6, 3]), "labels": tf.TensorSpec([10], tf.int64)}
    return tf.data.Dataset.from_generator(lambda: batches(start), output_signature=signature)


def state(model, optimizer):
    return [value.numpy() for value in [*model.weights, *optimizer.variables]]


def assert_same(first, second):
    for wanted, got in zip(first, second, strict=True):
        np.testing.assert_array_equal(got, wanted)


def kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if isinstance(layer, Marked)]


def test_fit_flips_signs_and_trains_the_rest():
    model, start = fitted(), small_model()
    bop = model.optimizer
    for before, after in zip(kernels(start), kernels(model), strict=True):
        np.testing.assert_array_equal(np.abs(after), np.abs(before))
        assert (after != before).any()
    assert not np.array_equal(model.layers[-1].kernel, start.layers[-1].kernel)
    assert 0 < int(bop.flips) < int(bop.total_flips) == sum(bop.flips_by_variable.values())
    assert [path.split("/")[-2:][1] for path in bop.flips_by_variable] == ["kernel", "kernel"]
    assert int(bop.iterations) == int(bop.companion.iterations) == STEPS * EPOCHS


def test_flips_are_counted_where_signs_change():
    model = small_model()
    bop = small_bop()
    loop = Loop(model, bop, CrossEntropy(), global_batch_size=10)
    total = 0
    for batch in batches(4):
        before = kernels(model)
        loop.train_step(batch)
        changed = [int((old != new).sum()) for old, new in zip(before, kernels(model), strict=True)]
        assert int(bop.flips) == sum(changed)
        total += sum(changed)
    assert int(bop.total_flips) == total > 0


def test_flips_are_counted_anew_after_a_reset():
    model, plain = small_model(), small_model()
    bop, other = small_bop(), small_bop()
    pairs = ((model, bop), (plain, other))
    loops = [Loop(each, optimizer, CrossEntropy(), global_batch_size=10) for each, optimizer in pairs]
    for number, batch in enumerate(batches(4)):
        for loop in loops:
            loop.train_step(batch)
        assert int(bop.flips) == int(other.flips)
        if number == 1:
            before = other.flips_by_variable
            bop.reset_flips()
            assert int(bop.total_flips) == sum(bop.flips_by_variable.values()) == 0
            assert int(bop.flips) == int(other.flips)  # of the last step
    since = {path: count - before[path] for path, count in other.flips_by_variable.items()}
    assert list(bop.flips_by_variable.values()) == list(since.values())
    assert int(bop.total_flips) == sum(since.values()) > 0


def test_the_rate_of_the_last_step():
    bop = Bop(PeriodicDecay(0.2, 0.5, 1, 2), sign_trained=["*"])
    variable = keras.Variable([1.0, -1.0])
    found = []
    for _ in range(4):
        bop.apply([tf.ones(2)], [variable])
        found.append(float(bop.last_adaptivity_rate))
    assert found == [0.2, 0.2, 0.1, 0.1]


def test_the_companion_is_that_optimizer_alone():
    """A model trained by Bop whose signs cannot flip equals one whose kernels are frozen."""
    ours, frozen = small_model(), small_model()
    ours.compile(small_bop(threshold=1e9), LOSS, jit_compile=False)
    for layer in frozen.layers:
        layer.trainable = not isinstance(layer, Marked)
    frozen.compile(small_bop().companion, LOSS, jit_compile=False)
    fit(ours)
    fit(frozen)
    for wanted, got in zip(frozen.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert int(ours.optimizer.total_flips) == 0


@pytest.mark.parametrize(
    "companion",
    [keras.optimizers.Adam(1e-2, use_ema=True), pytest.param(keras.optimizers.AdamW(1e-2), marks=pytest.mark.slow)],
)
def test_other_companions(companion):
    model = fitted(companion=companion)
    assert np.isfinite(model.evaluate(IMAGES, LABELS, verbose=0))
    assert int(model.optimizer.companion.iterations) == STEPS * EPOCHS


def test_our_loop_equals_fit():
    model, bop = small_model(), small_bop()
    loop = Loop(model, bop, CrossEntropy(), global_batch_size=10)
    for batch in batches(0):
        loop.train_step(batch)
    other = fitted()
    for wanted, got in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert int(bop.total_flips) == int(other.optimizer.total_flips)


@pytest.mark.slow
def test_xla():
    plain, compiled = fitted(), fitted(jit=True)
    for wanted, got in zip(plain.get_weights(), compiled.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5)
    assert int(compiled.optimizer.total_flips) == int(plain.optimizer.total_flips)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    """Averages, counters and both schedules go on where they stood, bit for bit."""

    def train(folder, stop_after=None):
        model, bop = small_model(), small_bop()
        loop = Loop(model, bop, CrossEntropy(), global_batch_size=10)

        def before_epoch(epoch):
            if epoch == stop_after:
                raise InterruptedError

        run = RunFolder.create(folder, {"epochs": EPOCHS}, resume=(Path(folder) / "settings.yaml").exists())
        rows = loop.fit(
            dataset,
            steps_per_epoch=STEPS,
            epochs=EPOCHS,
            name="train",
            run=run,
            resume=run.resumed,
            before_epoch=before_epoch,
        )
        return state(model, bop), rows

    expected, rows = train(tmp_path / "unbroken")
    with pytest.raises(InterruptedError):
        train(tmp_path / "broken", stop_after=1)
    got, resumed = train(tmp_path / "broken")
    assert_same(expected, got)
    assert rows == resumed
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.1, 0.1, 0.01])


def test_tensorflow_checkpoints_hold_the_state(tmp_path):
    model = fitted(epochs=2)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "checkpoint"))
    other = small_model()
    other.compile(small_bop(), LOSS, jit_compile=False)
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path).assert_existing_objects_matched()
    assert_same(state(model, model.optimizer), state(other, other.optimizer))


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_keras_files_hold_the_optimizer(tmp_path, jit):
    """A model saved on the way goes on as if nothing had been."""
    model = fitted(jit=jit, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, Bop)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert_same(state(model, model.optimizer), state(loaded, loaded.optimizer))
    fit(model, 1)
    fit(loaded, 1)
    assert_same(state(model, model.optimizer), state(loaded, loaded.optimizer))
    assert int(loaded.optimizer.iterations) == 2 * STEPS


def test_the_configuration_makes_an_equal_optimizer():
    bop = small_bop(sign_trained=["*/kernel"], variant="larq", keep_magnitudes=False, global_clipnorm=2.0, name="signs")
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(bop))
    assert copy.get_config() == bop.get_config()
    assert json.loads(json.dumps(bop.get_config())) == bop.get_config()
    assert (copy.variant, copy.keep_magnitudes, copy.sign_trained) == ("larq", False, ("*/kernel",))
    assert isinstance(copy.companion, SGD)
    assert copy.companion.momentum_form == "torch"
    assert float(copy.adaptivity_rate(STEPS)) == pytest.approx(0.15)
    plain = Bop.from_config(Bop(0.01).get_config())
    assert plain.adaptivity_rate == 0.01
    assert plain.companion.get_config() | {"name": ""} == Bop().companion.get_config() | {"name": ""}


@pytest.mark.parametrize(("policy", "wrap"), [("mixed_bfloat16", False), ("mixed_float16", True)])
def test_mixed_precision(policy, wrap):
    model = small_model(dtype=policy)
    bop = small_bop()
    optimizer = keras.optimizers.LossScaleOptimizer(bop, initial_scale=64.0) if wrap else bop
    model.compile(optimizer, LOSS, jit_compile=False)
    fit(model)
    assert {variable.dtype for variable in bop.averages} == {"float32"}
    exact = fitted()
    assert int(bop.total_flips) == pytest.approx(int(exact.optimizer.total_flips), rel=0.2)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def test_a_step_whose_gradients_overflow_is_left_out():
    model = small_model(dtype="mixed_float16")
    bop = small_bop()
    model.compile(keras.optimizers.LossScaleOptimizer(bop, initial_scale=1e30), LOSS, jit_compile=False)
    before = model.get_weights()
    fit(model, 1)
    assert int(bop.iterations) == int(bop.total_flips) == 0
    trainable = [i for i, variable in enumerate(model.weights) if variable.trainable]
    assert_same([before[i] for i in trainable], [model.get_weights()[i] for i in trainable])


def test_keras_gradient_accumulation():
    """Both optimizers step once in two batches, on the mean of the gradients."""
    model = small_model()
    model.compile(small_bop(gradient_accumulation_steps=2), LOSS, jit_compile=False)
    fit(model, 1)
    assert int(model.optimizer.iterations) == int(model.optimizer.companion.iterations) == STEPS // 2
    assert int(model.optimizer.total_flips) > 0


def test_the_learning_rate_is_the_companions():
    bop = Bop(companion=SGD(0.5))
    bop.learning_rate = 0.25
    assert float(bop.companion.learning_rate) == float(bop.learning_rate) == 0.25
    model = small_model()
    model.compile(bop, LOSS, jit_compile=False)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    fit(model, 2, callbacks=[scheduler])
    assert float(bop.companion.learning_rate) == pytest.approx(0.05)


def test_a_model_that_is_trained_by_signs_alone():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    bop = Bop(0.1, 0.0, companion=SGD(PeriodicDecay(0.1, 0.1, 1, 1)), sign_trained=["*"])
    model.compile(bop, "mse", jit_compile=False)
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    assert float(bop.learning_rate) == pytest.approx(0.01)  # its schedule goes on


def test_clipping_acts_on_averages():
    variables = [keras.Variable([3.0, 4.0], name="kernel"), keras.Variable([1.0], name="bias")]
    bop = Bop(0.5, 0.0, SGD(1.0), ["kernel"], "paper", global_clipnorm=1.0)
    bop.apply([tf.constant([3.0, 0.0]), tf.constant([4.0])], variables)
    np.testing.assert_allclose(bop.averages[0].numpy(), [0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(variables[1].numpy(), [1.0 - 0.8], rtol=1e-5)


def test_pruning_carries_the_state_over():
    """`keep_optimizer` cuts averages and the companion's momenta like the weights."""
    keras.utils.set_random_seed(0)
    plain = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(8, 3, name="conv_a", use_bias=False)])
    for layer in (keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Conv2D(6, 3, name="conv_b")):
        plain.add(layer)
    plain.add(keras.layers.GlobalAveragePooling2D())
    plain.add(keras.layers.Dense(4))
    plain.compile(small_bop(sign_trained=["*conv_*/kernel"]), LOSS, jit_compile=False)
    fit(plain, 1)
    small = prune_channels(plain, "l1", flops=0.6, keep_optimizer=True)
    old, new = plain.optimizer, small.optimizer
    assert small.get_layer("conv_a").kernel.shape == new.averages[0].shape != old.averages[0].shape
    columns = {column.tobytes() for column in np.moveaxis(old.averages[0].numpy(), -1, 0)}
    assert all(column.tobytes() in columns for column in np.moveaxis(new.averages[0].numpy(), -1, 0))
    assert int(new.iterations) == int(new.companion.iterations) == STEPS
    fit(small, 1)


@pytest.fixture(scope="module")
def replicas():
    script = Path(__file__).with_name("replicas_script.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("loop_one", "loop_two"),
        ("loop_one", "loop_two_xla"),
        ("loop_one", "fit_one"),
        ("loop_one", "fit_two"),
        ("loop_one_accumulated", "loop_two_accumulated"),
        ("loop_one", "loop_two_accumulated"),
    ],
)
@pytest.mark.slow
def test_two_devices_equal_one(replicas, one, two):
    assert replicas[one]["flips"] == replicas[two]["flips"]
    assert replicas[one]["flips"][1] > 10
    for wanted, got in zip(replicas[one]["weights"], replicas[two]["weights"], strict=True):
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loop_two", "loop_two_xla", "loop_two_accumulated", "fit_two", "fit_two_wrapped"])
def test_devices_stay_identical(replicas, name):
    for first, second in replicas[name]["weights"]:
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("name", ["loop_one", "loop_two", "fit_two", "fit_two_wrapped"])
def test_a_reset_on_two_devices(replicas, name):
    assert replicas[name]["reset"] == [replicas[name]["flips"][0], 0, 0.05]  # five steps, two a rate


@pytest.mark.slow
def test_loss_scaling_on_two_devices(replicas):
    assert replicas["fit_two_wrapped"]["flips"] == replicas["fit_two"]["flips"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": -1e-6}, "threshold: expected a number of at least 0, received -1e-06"),
        ({"threshold": float("nan")}, "threshold: expected a number of at least 0, received nan"),
        ({"adaptivity_rate": 0.0}, "adaptivity_rate: expected a value between 0 and 1"),
        ({"adaptivity_rate": 1.0}, "adaptivity_rate: expected a value between 0 and 1"),
        ({"adaptivity_rate": PeriodicDecay(2.0, 0.1, 1, 1)}, "adaptivity_rate: .* received 2.0"),
        ({"variant": "bop"}, "variant: expected peekaboo, paper or larq, received 'bop'"),
        ({"sign_trained": "*/kernel"}, r"sign_trained: expected None or patterns"),
        ({"sign_trained": []}, r"sign_trained: expected None or patterns"),
        ({"companion": "sgd"}, "companion: expected a Keras optimizer of its own, received str"),
        ({"companion": keras.optimizers.LossScaleOptimizer(SGD(0.1))}, "wrap Bop rather than the companion"),
        ({"companion": SGD(0.1, gradient_accumulation_steps=2)}, "companion: expected no gradient_accumulation_steps"),
        ({"companion": SGD(0.1, loss_scale_factor=2.0)}, "companion: expected no loss_scale_factor"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ConfigError, match=message):
        Bop(**settings)


def test_refuses_a_model_without_masked_layers():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(Bop(), "mse", jit_compile=False)
    with pytest.raises(ConfigError, match="convert the model to masked layers, or name the variables"):
        model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)


def test_the_companion_trains_a_model_that_is_converted_back():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    sparse = convert(model, "masked")
    sparse.compile(Bop(companion=SGD(0.5)), "mse")
    assert isinstance(convert(sparse, "fused").optimizer, Bop)
    plain = convert(sparse, "plain")
    assert isinstance(plain.optimizer, SGD)
    assert float(plain.optimizer.learning_rate) == 0.5
    plain.fit(np.ones((2, 4)), np.ones((2, 3)), verbose=0)


def train(**options):
    weight = keras.Variable(START, name="kernel")
    bop = Bop(sign_trained=["kernel"], **options)
    for gradient in GRADIENTS:
        bop.apply([tf.constant(gradient)], [weight])
    return weight.numpy(), bop


def by_the_paper(start, rate, threshold):
    """Algorithm 1, word for word, on float64."""
    weight, average, count = start.astype(float), np.zeros(start.shape), 0
    for gradient in GRADIENTS.astype(float):
        average = (1 - rate) * average + rate * gradient
        for place in np.ndindex(*start.shape):
            if abs(average[place]) > threshold and np.sign(average[place]) == np.sign(weight[place]):
                weight[place] = -weight[place]
                count += 1
    return weight, count


def by_larq(start, rate, threshold):
    """`sign(-sign(w * m - t) * w)` with larq's sign, which is +1 at 0."""
    weight, average = start.astype(float), np.zeros(start.shape)
    for gradient in GRADIENTS.astype(float):
        average += rate * (gradient - average)
        weight = np.where(-np.sign(weight * average - threshold) * weight >= 0, 1.0, -1.0)
    return weight


def test_the_rule_of_the_paper():
    weight, bop = train(adaptivity_rate=0.3, threshold=0.1, variant="paper")
    expected, count = by_the_paper(START, 0.3, 0.1)
    np.testing.assert_array_equal(weight, expected.astype(np.float32))
    assert int(bop.total_flips) == count > 10


def test_the_rule_of_larq():
    weight, _ = train(adaptivity_rate=0.3, threshold=0.1, variant="larq", keep_magnitudes=False)
    np.testing.assert_array_equal(weight, by_larq(START, 0.3, 0.1))


def test_larq_keeps_magnitudes_unless_asked():
    weight, bop = train(adaptivity_rate=0.3, threshold=0.1, variant="larq")
    np.testing.assert_array_equal(np.abs(weight), np.abs(START))
    assert 10 < int(bop.total_flips) != by_the_paper(START, 0.3, 0.1)[1]  # the threshold weighs magnitudes


def test_larq_on_signs_is_the_paper():
    """Weights of magnitude 1: the two rules are the same but for rounding."""
    ours = {}
    for variant in ("larq", "paper"):
        weight = keras.Variable(np.sign(START), name="kernel")
        bop = Bop(0.3, 0.1, sign_trained=["kernel"], variant=variant)
        for gradient in GRADIENTS:
            bop.apply([tf.constant(gradient)], [weight])
        ours[variant] = weight.numpy()
    np.testing.assert_array_equal(ours["larq"], ours["paper"])


def test_weights_of_one_magnitude():
    weight, _ = train(adaptivity_rate=0.3, threshold=0.1, keep_magnitudes=False)
    kept, _ = train(adaptivity_rate=0.3, threshold=0.1)
    np.testing.assert_array_equal(weight, np.sign(kept))


def test_starts():
    """One step from the same gradient: what the average is, and the strictness of the threshold."""
    gradient, weight = tf.constant([0.5]), [2.0]
    for variant, average, flipped in (("peekaboo", 0.75, True), ("paper", 0.25, False), ("larq", 0.25, True)):
        variable = keras.Variable(weight, name="kernel")
        bop = Bop(0.5, 0.25, sign_trained=["kernel"], variant=variant)
        bop.apply([gradient], [variable])
        assert float(bop.averages[0][0]) == average
        assert float(variable[0]) == (-2.0 if flipped else 2.0), variant  # larq: 2 * 0.25 > 0.25
    at_threshold = keras.Variable(weight, name="kernel")
    Bop(0.5, 0.75, sign_trained=["kernel"]).apply([gradient], [at_threshold])
    assert float(at_threshold[0]) == -2.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.sampled_from([0.0, 1e-3, 0.5, 1.0]))
def test_the_rule_of_peekaboo_is_its_formula(pairs, threshold):
    weight, average = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    expected = (np.abs(average) >= np.float32(threshold)) & (np.sign(average) == np.sign(weight))
    got = flips("peekaboo", tf.constant(weight), tf.constant(average), threshold)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("threshold", [0.0, 1e-60])
def test_a_threshold_that_is_zero_in_the_type_of_the_weights(threshold):
    weight, average = tf.constant([1.0, -1.0, 0.0, 1.0]), tf.constant([0.0, 0.0, 0.0, 2.0])
    assert flips("peekaboo", weight, average, threshold).numpy().tolist() == [False, False, True, True]


@pytest.fixture
def variables():
    names = ["stem/kernel", "stem/bias", "block/kernel", "fc/kernel"]
    return [type("Named", (), {"path": name})() for name in names]


def test_marks(variables):
    variables[0].masked = True
    variables[2].masked = True
    variables[3].masked = False
    assert sign_trained_variables(variables, None) == [True, False, True, False]


def test_patterns(variables):
    assert sign_trained_variables(variables, ["*/kernel"]) == [True, False, True, True]
    assert sign_trained_variables(variables, ["stem/*", "block/kernel"]) == [True, True, True, False]


def test_patterns_outdo_marks(variables):
    variables[0].masked = True
    assert sign_trained_variables(variables, ["fc/*"]) == [False, False, False, True]


def test_the_mark_of_a_keras_variable_counts():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.layers[0].kernel.masked = True
    assert sign_trained_variables(model.trainable_variables, None) == [True, False]


def test_nothing_is_marked(variables):
    with pytest.raises(
        ConfigError, match=r"sign_trained: expected kernels of masked .*4 variables.* received none; convert"
    ):
        sign_trained_variables(variables[::-1], None)


def test_a_pattern_matches_nothing(variables):
    with pytest.raises(ConfigError, match=r"received 'head/\*', which matches none of stem/kernel"):
        sign_trained_variables(variables, ["*/kernel", "head/*"])
