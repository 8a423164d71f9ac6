import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfprune.errors import ConfigError
from tfprune.recipes.data import BatchRequest, ImageData, fixed_batches, load_data
from tfprune.recipes.data.dataset import prune_positions


def made_up(images=23, shape=(4, 4, 3), *, flip=True, padding=1):
    """Data whose labels are the positions of the images, so that batches tell who is in them."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (images, *shape), np.uint8)
    labels = np.arange(images)
    channels = shape[-1]
    return ImageData(
        "made up", images, pixels, labels, pixels, labels, (100.0,) * channels, (50.0,) * channels, flip, padding
    )


def all_of(dataset):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset]


def assert_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_resuming_gives_exactly_the_rest(data):
    images = made_up()
    batch_size, epochs = data.draw(st.integers(1, 23)), data.draw(st.integers(1, 3))
    views, jitter = data.draw(st.sampled_from([(1, False), (1, True), (2, True)]))
    steps = epochs * (23 // batch_size)
    start = data.draw(st.integers(0, steps))
    options = {"batch_size": batch_size, "epochs": epochs, "seed": 7, "views": views, "color_jitter": jitter}
    knowledge = np.random.default_rng(1).normal(size=(23, 23, 2)).astype(np.float32)
    whole = all_of(images.training_batches(BatchRequest(knowledge=knowledge, **options)))
    rest = images.training_batches(BatchRequest(knowledge=knowledge, start_step=start, **options))
    assert len(whole) == steps
    assert int(rest.cardinality()) == steps - start
    assert_same(whole[start:], all_of(rest))


def test_more_epochs_begin_alike():
    few, many = (
        all_of(made_up().training_batches(BatchRequest(batch_size=5, epochs=epochs, seed=0))) for epochs in (2, 3)
    )
    assert_same(few, many[:8])


def test_each_epoch_is_another_permutation():
    batches = all_of(made_up(24).training_batches(BatchRequest(batch_size=6, epochs=3, seed=0)))
    epochs = np.concatenate([batch["labels"] for batch in batches]).reshape(3, 24)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(24))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], np.arange(24))


def test_remainder_is_left_out_but_not_always_the_same():
    batches = all_of(made_up(23).training_batches(BatchRequest(batch_size=5, epochs=8, seed=0)))
    epochs = np.concatenate([batch["labels"] for batch in batches]).reshape(8, 20)
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(23))


def test_seed_drives_order_and_augmentation():
    def batches(seed):
        return all_of(made_up().training_batches(BatchRequest(batch_size=23, epochs=2, seed=seed)))

    assert_same(batches(1), batches(1))
    one, other = batches(1)[0], batches(2)[0]
    assert not np.array_equal(one["labels"], other["labels"])
    by_label = [batch["images"][np.argsort(batch["labels"])] for batch in (one, other)]
    assert not np.array_equal(*by_label)
    first, second = batches(1)
    by_label = [batch["images"][np.argsort(batch["labels"])] for batch in (first, second)]
    assert not np.array_equal(*by_label)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("views", [1, 2])
def test_images_are_normalized_windows_of_their_own_source(flip, views):
    data = made_up(flip=flip)
    mirrored = 0
    for batch in all_of(data.training_batches(BatchRequest(batch_size=8, epochs=2, seed=3, views=views))):
        assert batch["images"].dtype == np.float32
        assert batch["images"].shape == ((8, 4, 4, 3) if views == 1 else (8, views, 4, 4, 3))
        pixels = np.round(batch["images"] * 50 + 100).astype(np.uint8).reshape(8, views, 4, 4, 3)
        for label, many in zip(batch["labels"], pixels, strict=True):
            for view in many:
                mirrors = [is_window(view, source) for source in both_sides(data.train_images[label])]
                assert any(mirrors)
                mirrored += mirrors[1] and not mirrors[0]
    assert (mirrored > 0) == flip


def both_sides(image):
    return image, image[:, ::-1]


def is_window(view, source):
    padded = np.pad(source, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return any(np.array_equal(view, padded[i : i + 4, j : j + 4]) for i in range(3) for j in range(3))


def test_views_differ_and_contrast_keeps_the_mean_of_the_source():
    data = made_up(images=8, shape=(6, 6, 1), flip=False, padding=0)
    plain = all_of(data.training_batches(BatchRequest(batch_size=8, epochs=1, seed=0)))[0]
    jittered = all_of(data.training_batches(BatchRequest(batch_size=8, epochs=1, seed=0, views=2, color_jitter=True)))[
        0
    ]
    np.testing.assert_array_equal(plain["labels"], jittered["labels"])
    centred = plain["images"] - plain["images"].mean((1, 2), keepdims=True)
    factors = []
    for view in (0, 1):
        images = jittered["images"][:, view]
        np.testing.assert_allclose(images.mean((1, 2)), plain["images"].mean((1, 2)), atol=1e-4)
        factor = np.std(images, (1, 2)) / np.std(plain["images"], (1, 2))
        np.testing.assert_allclose(
            images - images.mean((1, 2), keepdims=True), centred * factor[:, None, None], atol=1e-4
        )
        factors.append(factor)
    factors = np.concatenate(factors)
    assert factors.min() > 0.8
    assert factors.max() < 1.2
    assert len(np.unique(factors.round(4))) == 16


def test_knowledge_rows_follow_their_images_from_a_mapped_file(tmp_path):
    data = made_up()
    rows = np.random.default_rng(0).normal(size=(23, 23, 3)).astype(np.float32)
    np.save(tmp_path / "bank.npy", rows)
    mapped = np.load(tmp_path / "bank.npy", mmap_mode="r")
    dataset = data.training_batches(BatchRequest(batch_size=6, epochs=2, seed=0, knowledge=mapped))
    assert dataset.element_spec["knowledge"].shape == (6, 23, 3)
    for batch in all_of(dataset):
        assert batch["knowledge"].dtype == np.float32
        np.testing.assert_array_equal(batch["knowledge"], rows[batch["labels"]])


def test_shapes_are_static():
    spec = load_data("digits").training_batches(BatchRequest(batch_size=32, epochs=1, seed=0, views=2)).element_spec
    assert spec["images"].shape == (32, 2, 8, 8, 1)
    assert spec["labels"].shape == (32,)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 24}, "batch size from 1 to the 23"),
        ({"batch_size": 0}, "batch_size: expected a whole number from 1 to"),
        ({"epochs": -1}, "epochs: expected a whole number from 0 to"),
        ({"views": 0}, "views: expected a whole number from 1 to"),
        ({"start_step": 9}, "start step from 0 to the 8 steps of 2 epochs, received 9"),
        ({"start_step": -1}, "start_step: expected a whole number from 0 to"),
        ({"knowledge": np.zeros((22, 23, 1))}, r"expected knowledge of shape \[23, 23, teachers\]"),
        ({"knowledge": np.zeros((23, 23))}, "expected knowledge"),
    ],
)
def test_numbers_out_of_range(options, expected):
    with pytest.raises(ConfigError, match=expected):
        made_up().training_batches(BatchRequest(**({"batch_size": 5, "epochs": 2, "seed": 0} | options)))


def test_every_step_has_its_own_draws_from_the_seed():
    data = made_up()
    data = replace(data, train_images=np.repeat(data.train_images[:1], 23, axis=0))  # only the augmentation differs
    first, second = all_of(data.training_batches(BatchRequest(batch_size=20, epochs=2, seed=0, color_jitter=True)))
    other = all_of(data.training_batches(BatchRequest(batch_size=20, epochs=1, seed=1, color_jitter=True)))[0]
    assert not np.allclose(first["images"], second["images"])
    assert not np.allclose(first["images"], other["images"])
    pixels = np.unique(first["images"].reshape(20, -1), axis=0)
    assert len(pixels) == 20


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 13), st.integers(1, 15), st.booleans())
def test_everything_once_in_file_order(count, batch_size, drop):
    images = np.random.default_rng(0).integers(0, 256, (count, 2, 3, 1), np.uint8)
    labels = np.arange(count)
    data = ImageData("made up", count, images, labels, images, labels, (100.0,), (50.0,), True, 1)
    batches = list(fixed_batches(images, labels, data, batch_size, drop_remainder=drop))
    kept = count - count % batch_size if drop else count
    assert len(batches) == -(-kept // batch_size)
    if not kept:
        return
    np.testing.assert_array_equal(np.concatenate([b["labels"] for b in batches]), labels[:kept])
    np.testing.assert_array_equal(np.concatenate([b["images"] for b in batches]), data.normalize(images[:kept]))
    assert all(len(b["labels"]) == batch_size for b in batches[:-1])


@pytest.mark.parametrize(("drop", "length"), [(True, 256), (False, None)])
def test_shapes_are_static_if_possible(drop, length):
    data = load_data("digits")
    spec = fixed_batches(data.test_images, data.test_labels, data, 256, drop).element_spec
    assert spec["images"].shape.as_list() == [length, 8, 8, 1]
    assert spec["labels"].shape.as_list() == [length]
    assert spec["labels"].dtype == np.int64


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_images_and_labels_belong_together_and_depend_on_the_seed(digits):
    still = dataclasses.replace(digits, crop_padding=0)
    images, labels = still.prune_images(40, seed=3)
    assert images.shape == (40, 8, 8, 1)
    assert images.dtype == np.float32
    pairs = zip(digits.normalize(digits.train_images), digits.train_labels, strict=True)
    known = {image.tobytes(): label for image, label in pairs}
    assert len({image.tobytes() for image in images}) == 40
    assert [known[image.tobytes()] for image in images] == labels.tolist()
    np.testing.assert_array_equal(still.prune_images(40, seed=3)[0], images)
    assert not np.array_equal(still.prune_images(40, seed=4)[0], images)
    np.testing.assert_array_equal(still.prune_images(40, seed=3)[0], images)


def test_images_are_augmented(digits):
    moved = digits.prune_images(40, seed=3)[0]
    still = dataclasses.replace(digits, crop_padding=0).prune_images(40, seed=3)[0]
    assert 20 < sum(not np.array_equal(*pair) for pair in zip(moved, still, strict=True)) < 40  # 8 of 9 offsets move


@pytest.mark.parametrize("count", [7, 30, 34])
def test_balanced_takes_as_many_of_each_class(digits, count):
    labels = digits.prune_images(count, balanced=True, seed=0)[1]
    counts = np.bincount(labels, minlength=10)
    assert counts.sum() == count
    assert counts.max() - counts.min() <= 1


def joined(batches):
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_images_do_not_depend_on_the_batch_size(digits):
    """More of them than are read at once."""
    whole = digits.prune_images(300, seed=3)
    batches = digits.prune_batches(300, 37, seed=3)
    assert [len(labels) for _, labels in batches] == [37] * 8 + [4]
    for _ in range(2):
        for found, expected in zip(joined(batches), whole, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("size", "least", "most"), [(50, 5, 5), (64, 6, 7), (300, 30, 30), (4, 0, 1)])
def test_every_batch_has_about_as_many_of_each_class(digits, size, least, most):
    batches = list(digits.prune_batches(300, size, balanced=True, seed=3))
    for _, labels in batches:
        assert (np.diff(labels) >= 0).all()
        if len(labels) == size:
            counts = np.bincount(labels, minlength=10)
            assert least <= counts.min() <= counts.max() <= most
    images, labels = joined(batches)
    assert np.bincount(labels).tolist() == [30] * 10
    whole = digits.prune_images(300, balanced=True, seed=3)[0]
    assert {image.tobytes() for image in images} == {image.tobytes() for image in whole}


def test_labels_are_looked_up_no_further_than_needed():
    asked = []

    def labels(positions):
        asked.extend(positions)
        return positions % 4

    chosen = prune_positions(100_000, 4, labels, 8, balanced=True, seed=1)
    assert len(asked) == 1024
    assert np.bincount(chosen % 4).tolist() == [2, 2, 2, 2]
    assert len(set(chosen)) == 8


def test_too_few_images(digits):
    with pytest.raises(ConfigError, match=r"expected 1 to 1437 images to prune by.*received 1438"):
        digits.prune_images(1438)
    with pytest.raises(ConfigError, match=r"expected 14\d training images in every class to prune by, found 1\d\d in"):
        digits.prune_images(1430, balanced=True)
