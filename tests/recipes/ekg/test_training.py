import json
import math
from importlib import import_module

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import TfpruneError
from tfprune.layers import FusedBatchNormalization
from tfprune.recipes import method as base
from tfprune.recipes.ekg import method as ekg
from tfprune.recipes.training import Loop, RunFolder

from .conftest import tiny_config

EPOCHS = 4


@pytest.fixture(autouse=True)
def baseline(tiny, monkeypatch):
    """`tiny` for every network that is loaded."""
    monkeypatch.setattr(ekg, "load_baseline", lambda config, data: tiny)


def evaluate(config, model, data):
    return ekg.EKGMethod(config, data).test(model)


@pytest.fixture
def trained(tiny, few_digits, tmp_path, monkeypatch):
    """Trains `tiny`; gives the result, the rows of its epochs, and the loop that did it."""
    loops = []

    class Spied(Loop):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            loops.append(self)

    monkeypatch.setattr(import_module("tfprune.recipes.training.train"), "Loop", Spied)

    def run(name="run", epochs=EPOCHS, learning_rate=0.1, **changes):
        config = tiny_config(**({"seed": 3, "decay_points": (0.5,)} | changes))
        method = ekg.EKGMethod(config, few_digits)
        method.folder = RunFolder.create(tmp_path / name, {}, resume=True)
        model = method.trained(tiny, name="part", epochs=epochs, learning_rate=learning_rate)
        return model, table(tmp_path / name, "part"), loops[-1]

    return run


def table(folder, name):
    return [json.loads(line) for line in (folder / "metrics" / f"{name}.jsonl").read_text().splitlines()]


def test_rates_drop_where_the_decay_points_say(trained):
    _, rows, _ = trained(decay_points=(0.5, 3.0), decay_rate=0.1)
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    _, rows, _ = trained("other", decay_points=(), learning_rate=0.02)
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.02] * 4)


def test_the_result_is_plain_and_tested(trained, tiny, few_digits):
    before = tiny.get_weights()
    model, rows, _ = trained(val_batch_size=7)
    assert [type(layer) for layer in model.layers] == [type(layer) for layer in tiny.layers]
    for old, new in zip(before, tiny.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    tested = evaluate(tiny_config(), model, few_digits)
    assert tested.examples == 60
    assert rows[-1]["test_loss"] == pytest.approx(tested.loss, rel=1e-4)
    assert rows[-1]["test_accuracy"] == pytest.approx(tested.top1)


def test_the_optimizer(trained):
    _, _, loop = trained(epochs=1, weight_decay=0.25, decay_points=())
    assert (loop.optimizer.momentum, loop.optimizer.nesterov) == (0.9, True)
    decayed = [variable.numpy() for variable in loop.model.trainable_variables]
    _, _, loop = trained("without", epochs=1, weight_decay=0.0, decay_points=())
    without = [variable.numpy() for variable in loop.model.trainable_variables]
    shrunk = [np.linalg.norm(one) < 0.9 * np.linalg.norm(two) for one, two in zip(decayed, without, strict=True)]
    assert np.mean(shrunk) > 0.8


def test_accum_cuts_the_batches(trained):
    _, rows, loop = trained(epochs=1, accum=4)
    assert loop.accumulate == 4
    _, whole, loop = trained("whole", epochs=1)
    assert loop.accumulate == 1
    # Batch norm sees chunks of ten images: another training, but not a wild one.
    assert 1e-6 < abs(rows[0]["train_loss"] - whole[0]["train_loss"]) < 1.0


def test_do_log_is_the_distance_of_the_step_rows(trained, tmp_path, capsys):
    trained(do_log=6)
    assert [row["step"] for row in table(tmp_path / "run", "part_steps")] == [6, 12, 18]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("part step ")]
    assert [line.split(":")[0] for line in lines] == ["part step 6", "part step 12", "part step 18"]


@pytest.mark.parametrize(("setting", "jit"), [("on", True), ("off", False), ("auto", False)])
def test_compile_is_xla(trained, monkeypatch, setting, jit):
    compiled = []
    real = tf.function

    def spy(function=None, **options):
        if getattr(function, "__module__", "").startswith("tfprune"):
            compiled.append(bool(options.get("jit_compile")))
        return real(function, **options)

    monkeypatch.setattr(tf, "function", spy)
    if setting == "auto" and tf.config.list_logical_devices("GPU"):
        pytest.skip("auto compiles on GPUs")
    trained(epochs=1, compile=setting)
    assert compiled.count(True) == (2 if jit else 0)  # the gradient and the test
    assert len(compiled) >= 2


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_precision(trained, few_digits, precision):
    model, rows, loop = trained(epochs=1, precision=precision, decay_points=())
    assert loop.model.get_layer("conv1").compute_dtype == precision.removeprefix("mixed_")
    assert isinstance(loop.optimizer, keras.optimizers.LossScaleOptimizer) is (precision == "mixed_float16")
    assert model.get_layer("conv1").compute_dtype == "float32"
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert rows[0]["learning_rate"] == pytest.approx(0.1)
    assert math.isfinite(rows[0]["train_loss"])
    assert evaluate(tiny_config(), model, few_digits).loss == pytest.approx(rows[0]["test_loss"], rel=0.1)


def test_one_device_needs_no_synchronization(trained):
    _, _, loop = trained(epochs=1, sync_batch_norm=True)
    norms = [layer for layer in loop.model.layers if isinstance(layer, FusedBatchNormalization)]
    assert len(norms) == 4
    assert not any(layer.synchronized for layer in norms)


def test_batch_statistics_depend_on_val_batch_size(tiny, few_digits):
    def loss(**changes):
        return evaluate(tiny_config(**changes), tiny, few_digits).loss

    assert loss(val_batch_size=60) == pytest.approx(loss(val_batch_size=7), rel=1e-5)
    own = [loss(val_batch_size=size, batch_statistics=True) for size in (60, 20)]
    assert len({round(value, 4) for value in (*own, loss())}) == 3
    images = few_digits.normalize(few_digits.test_images)
    copy = keras.models.clone_model(tiny)
    copy.set_weights(tiny.get_weights())
    logits = copy(images, training=True)
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(few_digits.test_labels, logits)
    assert own[0] == pytest.approx(float(tf.reduce_mean(expected)), rel=1e-4)


def test_killed_and_resumed_equals_unbroken(trained, tmp_path, monkeypatch):
    expected, expected_rows, _ = trained("unbroken")
    real, calls = base.evaluate, []

    def die(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise SystemError("killed")
        return real(*arguments, **settings)

    monkeypatch.setattr(base, "evaluate", die)
    with pytest.raises(SystemError):
        trained("broken")
    monkeypatch.setattr(base, "evaluate", real)
    received, rows, _ = trained("broken", resume=True)
    assert rows == expected_rows
    for one, other in zip(expected.get_weights(), received.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_divergence_is_one_line(trained):
    with pytest.raises(TfpruneError, match=r"training diverged: the mean loss of the epoch is (nan|inf)"):
        trained(learning_rate=1e30)
