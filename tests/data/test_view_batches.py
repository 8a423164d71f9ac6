"""AugMix and noise against images of the original code, and as batches."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.augmix import OPERATIONS, AugMix
from tfprune.data.image_data import ImageData
from tfprune.data.view_batches import GaussianNoise, view_batches
from tfprune.errors import ConfigError

MEAN, STD = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])


@pytest.fixture(scope="module")
def golden(shared):
    with np.load(shared / "golden" / "biprop.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("aug/")}


def normalized(image):
    return ((image / 255 - MEAN) / STD).transpose(2, 0, 1)


def test_every_operation(golden):
    from PIL import Image

    image = Image.fromarray(golden["aug/image"])
    names = [name for name in golden if name.startswith("aug/out/")]
    assert len(names) == 13 * 3 * 2
    for name in names:
        operation, severity, seed = name.removeprefix("aug/out/").rsplit("_", 2)
        random = np.random.RandomState(int(seed.removeprefix("seed")))
        changed = OPERATIONS[operation](image, int(severity.removeprefix("sev")), random)
        np.testing.assert_array_equal(np.asarray(changed), golden[name], err_msg=name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("default", {}),
        ("depth2", {"depth": 2}),
        ("width1_depth1", {"width": 1, "depth": 1}),
        ("sev10_all", {"severity": 10, "all_operations": True}),
    ],
)
def test_mixtures(golden, name, settings):
    mixed = AugMix(**settings)(golden["aug/image"], np.random.RandomState(123))
    np.testing.assert_allclose(normalized(mixed), golden[f"aug/augmix_{name}_seed123"], atol=2e-6)
    np.testing.assert_allclose(normalized(golden["aug/image"]), golden["aug/preprocessed"], atol=1e-6)


def test_noise(golden):
    """The original's noise on our scale, clipped; the draws themselves are TensorFlow's."""
    image = golden["aug/image"].astype(np.float32)
    noise = golden["aug/gauss_noise_unit_seed0"].transpose(1, 2, 0)
    expected = np.clip(image + 255 * 0.1 * noise, 0, 255)
    out = golden["aug/gauss_out_std0.1_seed0"]
    unit = expected / 255
    assert min(np.abs(out - unit.transpose(2, 0, 1)).max(), np.abs(out - normalized(expected)).max()) < 1e-5
    flat = tf.fill([64, 32, 32, 3], 127.5)
    noisy = GaussianNoise(0.1, clean=0.25)(flat, tf.constant([1, 2]))
    changed = np.asarray(tf.reduce_any(noisy != flat, [1, 2, 3]))
    assert 0.6 < changed.mean() < 0.9
    assert np.std(np.asarray(noisy)[changed]) == pytest.approx(25.5, rel=0.02)
    extreme = GaussianNoise(5.0)(flat, tf.constant([1, 2]))
    assert (np.min(extreme), np.max(extreme)) == (0, 255)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return ImageData(
        name="random",
        num_classes=3,
        train_images=random.integers(0, 256, (20, 8, 8, 3), np.uint8),
        train_labels=random.integers(0, 3, 20),
        test_images=random.integers(0, 256, (4, 8, 8, 3), np.uint8),
        test_labels=random.integers(0, 3, 4),
        mean=(127.5,) * 3,
        std=(63.75,) * 3,
        flip=True,
        crop_padding=1,
    )


@pytest.mark.parametrize("view", [AugMix(), GaussianNoise(0.2)], ids=["augmix", "noise"])
@pytest.mark.parametrize("views", [1, 3])
def test_batches(data, view, views):
    def batches(**settings):
        settings = {"view": view, "batch_size": 4, "epochs": 2, "seed": 5, "views": views} | settings
        return [{k: v.numpy() for k, v in batch.items()} for batch in view_batches(data, **settings)]

    whole, rest, other = batches(), batches(start_step=7), batches(seed=6)
    assert len(whole) == 10
    for batch, again in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(batch["images"], again["images"])
        np.testing.assert_array_equal(batch["labels"], again["labels"])
    assert np.any(whole[0]["images"] != other[0]["images"])
    images = np.concatenate([batch["images"] for batch in whole])
    assert images.shape == (40, 8, 8, 3) if views == 1 else (40, 3, 8, 8, 3)
    assert np.abs(images).max() <= 2 + 1e-5
    if views == 3:
        clean, first, second = (images[:, index] for index in range(3))
        pixels = clean * 63.75 + 127.5
        np.testing.assert_allclose(pixels, np.round(pixels), atol=1e-3)
        assert np.mean(np.any(clean != first, (1, 2, 3))) > 0.8
        assert np.mean(np.any(second != first, (1, 2, 3))) > 0.8


def test_bad_settings(data):
    for settings, match in (
        ({"severity": 0}, "severity: expected 0.1 to 10, received 0"),
        ({"width": 0}, "width: expected 1 or more, received 0"),
        ({"depth": -1}, "depth: expected 0 or more, received -1"),
    ):
        with pytest.raises(ConfigError, match=match):
            AugMix(**settings)
    with pytest.raises(ConfigError, match="deviation: expected a number above 0, received 0"):
        GaussianNoise(0)
    with pytest.raises(ConfigError, match="clean: expected a chance from 0 to 1, received 2"):
        GaussianNoise(0.1, clean=2)


def test_grey_images():
    image = np.random.default_rng(0).integers(0, 256, (12, 10, 1), np.uint8)
    assert AugMix(severity=10)(image, np.random.RandomState(0)).shape == (12, 10, 1)
