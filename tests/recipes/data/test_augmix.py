"""AugMix against images of the original code."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import ConfigError
from tfprune.recipes.data.augmix import OPERATIONS, AugMix

MEAN, STD = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])


@pytest.fixture(scope="module")
def golden(golden_biprop):
    return golden_biprop


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
    mixed = AugMix(**settings).mixed(golden["aug/image"], np.random.RandomState(123))
    np.testing.assert_allclose(normalized(mixed), golden[f"aug/augmix_{name}_seed123"], atol=2e-6)
    np.testing.assert_allclose(normalized(golden["aug/image"]), golden["aug/preprocessed"], atol=1e-6)


def test_each_image_by_its_own_seed(golden):
    image, turned = golden["aug/image"], golden["aug/image"][:, ::-1]
    seeds = np.int32([[1, 2], [-3, 4], [5, 6]])
    images = np.float32([image, image, turned]) + np.float32(0.4)  # rounded to bytes
    changed = AugMix()(tf.constant(images), tf.constant(seeds)).numpy()
    for one, source, seed in zip(changed, (image, image, turned), seeds, strict=True):
        random = np.random.RandomState(np.random.PCG64(seed.view(np.uint32)))
        np.testing.assert_array_equal(one, AugMix().mixed(source, random))
    assert (changed[0] != changed[1]).any()
    np.testing.assert_array_equal(AugMix()(images[1:2], seeds[1:2]), changed[1:2])


def test_bad_settings():
    for settings, match in (
        ({"severity": 0}, "severity: expected a number of at least 0.1 and at most 10, received 0"),
        ({"width": 0}, "width: expected a whole number from 1 to 1000, received 0"),
        ({"depth": -1}, "depth: expected a whole number from 0 to 1000, received -1"),
    ):
        with pytest.raises(ConfigError, match=match):
            AugMix(**settings)


def test_gray_images():
    image = np.random.default_rng(0).integers(0, 256, (12, 10, 1), np.uint8)
    assert AugMix(severity=10).mixed(image, np.random.RandomState(0)).shape == (12, 10, 1)
