import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import conv_chain
from tfprune.errors import ConfigError
from tfprune.layers import FusedBatchNormalization
from tfprune.optimizers import SGD
from tfprune.recipes.training import CrossEntropy, Loop
from tfprune.recipes.training.loop import check_parts, split_batch, worker_rows

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(40, 6, 6, 3)).astype(np.float32)
LABELS = RNG.integers(0, 4, 40)
counts = st.integers(1, 4)


def small_model(*, batch_norm=True, dropout=0.0, regularizer=None, dtype=None):
    def normalization(name):
        return FusedBatchNormalization(momentum=0.9, dtype=dtype, name=name)

    settings = {"normalization": normalization if batch_norm else None, "dropout": dropout, "dtype": dtype}
    return conv_chain((6, 6, 3), (5,), 4, seed=3, padding="valid", regularizer=regularizer, **settings)


def batches(size, count):
    return [
        {"images": IMAGES[i * size : (i + 1) * size], "labels": LABELS[i * size : (i + 1) * size]} for i in range(count)
    ]


def train(model, *, size=10, steps=4, **settings):
    loop = Loop(model, SGD(0.1, 0.9, True, 5e-4), CrossEntropy(), global_batch_size=size, **settings)
    return [loop.train_step(batch) for batch in batches(size, steps)]


def assert_equal_weights(first, second, rtol, atol):
    for wanted, got in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)


def test_equals_a_plain_keras_loop():
    """Stateful layers, a tape and the optimizer, as one would write them by hand."""
    ours, plain = small_model(), small_model()
    optimizer = SGD(0.1, 0.9, True, 5e-4)
    expected = []
    for batch in batches(10, 4):
        with tf.GradientTape() as tape:
            logits = plain(batch["images"], training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["labels"], logits)
            loss = tf.reduce_mean(losses)
        variables = plain.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        expected.append((float(loss), float(np.mean(np.argmax(logits, -1) == batch["labels"]))))
    rows = train(ours)
    np.testing.assert_allclose([(row["loss"], row["accuracy"]) for row in rows], expected, rtol=1e-5)
    assert_equal_weights(plain, ours, 1e-4, 1e-6)


def test_xla_gives_the_same_weights():
    plain, compiled = small_model(), small_model()
    train(plain, compile="off")
    train(compiled, compile="on")
    assert_equal_weights(plain, compiled, 1e-3, 1e-5)


@pytest.mark.parametrize("chunks", [2, 5, 10])
def test_accumulation_equals_the_large_batch(chunks):
    """The model has no batch norm, so examples are independent."""
    whole, pieces = small_model(batch_norm=False), small_model(batch_norm=False)
    expected, rows = train(whole), train(pieces, accumulate=chunks)
    np.testing.assert_allclose([r["loss"] for r in rows], [r["loss"] for r in expected], rtol=1e-5)
    np.testing.assert_allclose([r["accuracy"] for r in rows], [r["accuracy"] for r in expected])
    assert_equal_weights(whole, pieces, 1e-4, 1e-6)


def test_accumulation_moves_batch_statistics_once_a_chunk():
    model, twin = small_model(), small_model()
    train(model, steps=1, accumulate=2)
    for chunk in (IMAGES[:5], IMAGES[5:10]):
        twin(chunk, training=True)
    norm, expected = model.get_layer("bn0"), twin.get_layer("bn0")
    assert np.abs(norm.moving_mean).max() > 1e-3
    np.testing.assert_allclose(norm.moving_mean, expected.moving_mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(norm.moving_variance, expected.moving_variance, rtol=1e-5)


@pytest.mark.parametrize("chunks", [1, 2])
def test_regularizers_of_the_model_count_once(chunks):
    """With the loss switched off by a zero objective only the regularizer moves the kernel."""

    class Nothing(CrossEntropy):
        def __call__(self, logits, batch):
            return 0.0 * tf.reduce_sum(logits), super().__call__(logits, batch)[1]

    model = small_model(batch_norm=False, regularizer=keras.regularizers.L2(0.5))
    kernel = model.get_layer("conv0").kernel
    before = kernel.numpy()
    loop = Loop(model, SGD(0.1), Nothing(), global_batch_size=10, accumulate=chunks)
    loop.train_step(batches(10, 1)[0])
    np.testing.assert_allclose(
        model.get_layer("conv0").kernel.numpy(), before * (1 - 0.1 * 2 * 0.5), rtol=1e-5, atol=1e-7
    )


def test_the_loss_is_divided_by_the_global_batch_size_not_by_the_rows():
    halves = [small_model(batch_norm=False), small_model(batch_norm=False)]
    batch = batches(10, 1)[0]
    for model, size in zip(halves, (10, 20), strict=True):
        Loop(model, SGD(0.1), CrossEntropy(), global_batch_size=size).train_step(batch)
    start = small_model(batch_norm=False).get_weights()
    for before, full, half in zip(start, halves[0].get_weights(), halves[1].get_weights(), strict=True):
        np.testing.assert_allclose(half - before, (full - before) / 2, rtol=1e-3, atol=1e-7)


def test_dropout_differs_in_each_step():
    model = small_model(dropout=0.5, batch_norm=False)
    loop = Loop(model, SGD(0.0), CrossEntropy(), global_batch_size=10)
    batch = batches(10, 1)[0]
    assert len({loop.train_step(batch)["loss"] for _ in range(3)}) == 3


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(dtype):
    model, exact = small_model(dtype=dtype), small_model()
    optimizer = SGD(0.1, 0.9, True)
    if dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
    loop = Loop(model, optimizer, CrossEntropy(), global_batch_size=10)
    reference = Loop(exact, SGD(0.1, 0.9, True), CrossEntropy(), global_batch_size=10)
    for batch in batches(10, 4):
        assert loop.train_step(batch)["loss"] == pytest.approx(reference.train_step(batch)["loss"], rel=0.03)
    assert_equal_weights(exact, model, 0.1, 0.05)
    assert {weight.dtype for weight in model.weights} <= {"float32", "int64", "uint32"}


def test_only_variables_that_change_are_written():
    model = small_model()
    model.get_layer("bn0").trainable = False
    before = model.get_layer("bn0").get_weights()
    loop = Loop(model, SGD(0.1), CrossEntropy(), global_batch_size=10)
    loop.train_step(batches(10, 1)[0])
    assert loop._step._gradients.updated == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("bn0").get_weights(), strict=True))


def test_chunks_of_different_sizes():
    with pytest.raises(ConfigError, match=r"expected a multiple of 3 .* received 10; take 9"):
        train(small_model(), accumulate=3)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 40), parts=st.integers(1, 9))
def test_split_batch_keeps_every_row(rows, parts):
    batch = {"images": np.arange(rows * 2.0).reshape(rows, 2), "labels": np.arange(rows)}
    pieces = split_batch(batch, parts)
    assert len(pieces) == parts
    for name, value in batch.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in pieces]), value)
    lengths = [len(piece["labels"]) for piece in pieces]
    assert max(lengths) - min(lengths) <= 1


@settings(max_examples=60, deadline=None)
@given(size=counts, chunks=counts, devices=counts, workers=counts)
def test_workers_share_every_chunk_in_order(size, chunks, devices, workers):
    replicas = devices * workers
    batch = size * chunks * replicas
    rows = [worker_rows(batch, chunks=chunks, replicas=replicas, workers=workers, rank=rank) for rank in range(workers)]
    share = size * devices
    for chunk in range(chunks):
        of_chunk = [row for each in rows for row in each[chunk * share : (chunk + 1) * share]]
        assert of_chunk == list(range(chunk * share * workers, (chunk + 1) * share * workers))


@pytest.mark.parametrize(
    ("batch", "chunks", "replicas", "message"),
    [
        (15, 1, 2, "a multiple of 2 .* received 15; take 14,"),
        (16, 3, 2, "a multiple of 6 .* received 16; take 12,"),
        (3, 4, 1, "a multiple of 4 .* received 3; take 4,"),
        (8, 0, 1, "accumulate: expected a whole number from 1 to .*, received 0"),
    ],
)
def test_unequal_parts(batch, chunks, replicas, message):
    with pytest.raises(ConfigError, match=message):
        check_parts(batch, chunks=chunks, replicas=replicas)
