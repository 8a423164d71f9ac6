import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.gaussian_noise import GaussianNoise
from tfprune.errors import ConfigError


def test_the_formula_of_the_original(shared):
    """Its noise on our scale, clipped; the draws themselves are TensorFlow's."""
    with np.load(shared / "golden" / "biprop.npz") as golden:
        image = golden["aug/image"].astype(np.float32)
        noise = golden["aug/gauss_noise_unit_seed0"].transpose(1, 2, 0)
        expected = golden["aug/gauss_out_std0.1_seed0"].transpose(1, 2, 0)
    mean, std = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])
    unit = np.clip(image + 255 * 0.1 * noise, 0, 255) / 255
    assert min(np.abs(expected - unit).max(), np.abs(expected - (unit - mean) / std).max()) < 1e-5


def test_noise_is_clipped_and_spares_some_images():
    flat = tf.fill([200, 16, 16, 3], 127.5)
    seeds = tf.random.stateless_uniform([200, 2], [1, 2], None, None, tf.int32)
    noisy = np.asarray(GaussianNoise(0.1, clean=0.25)(flat, seeds))
    changed = np.any(noisy != 127.5, axis=(1, 2, 3))
    assert 0.65 < changed.mean() < 0.85
    assert np.mean(noisy[changed]) == pytest.approx(127.5, abs=0.5)
    assert np.std(noisy[changed]) == pytest.approx(25.5, rel=0.02)
    assert len({image.tobytes() for image in noisy[changed]}) == changed.sum()
    extreme = GaussianNoise(5.0)(flat[:2], seeds[:2])
    assert (np.min(extreme), np.max(extreme)) == (0, 255)
    np.testing.assert_array_equal(GaussianNoise(0.1, clean=0.25)(flat[7:9], seeds[7:9]), noisy[7:9])


def test_bad_settings():
    with pytest.raises(ConfigError, match="deviation: expected a number above 0, received 0"):
        GaussianNoise(0)
    with pytest.raises(ConfigError, match="clean: expected a chance from 0 to 1, received 2"):
        GaussianNoise(0.1, clean=2)
