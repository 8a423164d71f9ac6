"""What lies in `tests/golden`: no images of CIFAR-10, no weights of the pretrained ResNet-56, and not too much."""

import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from tests.golden_arrays import FOLDER, FROM_CIFAR10, seal
from tests.outside import HINTS, first_test_images, left_out

ORIGINALS = ("biprop", "dpp", "ekg", "peekaboo", "random_tickets")
NOISE = 0.2
"""Neighboring values of random images and of kernels correlate less than this, those of photographs more."""


def arrays():
    for original in ORIGINALS:
        with np.load(FOLDER / f"{original}.npz") as file:
            for name in file.files:
                yield f"{original}: {name}", file[name]


def likeness_to_photographs(array):
    """Returns the correlation of neighbors along the axes that could be height and width; 0 if there are none."""
    if array.dtype.kind not in "uif" or array.ndim < 3 or 3 not in array.shape:
        return 0.0
    found = 0.0
    for axis in range(array.ndim - 1):
        if array.shape[axis] == array.shape[axis + 1] == 32:
            images = np.moveaxis(array, (axis, axis + 1), (-2, -1)).astype(float)
            images = images - images.mean((-2, -1), keepdims=True)
            size = (images**2).mean() + 1e-12
            found = max(found, *((np.diff(images, axis=way) ** 2).mean() * -0.5 / size + 1 for way in (-2, -1)))
    return found


def is_sealed(array):
    """Returns whether the bytes of an array look random: they cannot be compressed."""
    data = array.tobytes()
    return len(zlib.compress(data, 9)) >= len(data)


def test_the_folder_is_small():
    files = list(FOLDER.iterdir())
    assert {file.name for file in files} == {f"{name}{end}" for name in ORIGINALS for end in (".md", ".npz")}
    assert sum(file.stat().st_size for file in files) < 16e6


def test_no_photographs():
    for name, array in arrays():
        if "sealed/" in name:
            assert array.nbytes < 1000 or is_sealed(array), name
        else:
            assert array.dtype != np.uint8 or array.shape[-3:] != (32, 32, 3), name
            assert likeness_to_photographs(array) < NOISE, name
    for original, names in FROM_CIFAR10.items():
        with np.load(FOLDER / f"{original}.npz") as file:
            assert not names.keys() & set(file.files)


def test_photographs_would_be_found():
    smooth = np.add.outer(np.arange(32), np.sin(np.arange(32)) * 9)[..., None] + np.arange(3)
    assert likeness_to_photographs(smooth.astype(np.uint8)) > 0.8
    assert likeness_to_photographs(smooth.transpose(2, 0, 1).astype(np.float32)[None] / 64) > 0.8
    assert not is_sealed(smooth)
    assert is_sealed(seal(smooth, "a name", b"secret"))


def test_images_of_cifar10_would_be_found():
    images, _ = first_test_images()
    for shown in (images, (images / 255 - 0.5).transpose(0, 3, 1, 2).astype(np.float32)):
        assert min(likeness_to_photographs(image) for image in shown) > 2 * NOISE
    assert not is_sealed(images[0])


def test_what_follows_from_images_or_pretrained_weights_is_sealed():
    sealed = {"biprop: sealed/cifar10/": [], "ekg: sealed/pretrained/": []}
    for name, array in arrays():
        if any(part in name for part in ("aug/out/", "aug/augmix_", "pft/", "/slim_kernel/")):
            assert name.startswith(tuple(sealed)), name
        for start, found in sealed.items():
            if name.startswith(start):
                found.append(array.tobytes())
    for found in sealed.values():
        assert found
        data = b"".join(found)
        assert len(zlib.compress(data, 9)) >= len(data)


def test_seals_open_with_the_secret_alone():
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    sealed = seal(array, "a", b"secret")
    assert (sealed.shape, sealed.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(seal(sealed, "a", b"secret"), array)
    for other in (seal(sealed, "b", b"secret"), seal(sealed, "a", b"guess")):
        assert other.tobytes() != array.tobytes()
    assert sealed.tobytes() != seal(array, "b", b"secret").tobytes()


def test_sections_are_read_by_the_rest_of_the_name(golden):
    section = golden.section("mask/").section("rand16/")
    assert set(section) == {"score", "order", "rates", "masks"}
    assert len(section) == 4
    assert "score" in section
    assert "rand16/score" not in section
    np.testing.assert_array_equal(section["score"], golden["mask/rand16/score"])
    with pytest.raises(KeyError, match="rand16/score"):
        section["rand16/score"]


def test_tests_left_out_are_counted():
    first, second = HINTS
    reasons = [f"Skipped: needs {first}; {HINTS[first]}"] * 3 + ["Skipped: could not import 'torch'"]
    assert left_out(reasons) == {first: 3}
    assert left_out([*reasons, f"Skipped: needs {second}; {HINTS[second]}"]) == {first: 3, second: 1}
    assert left_out([]) == {}


@pytest.mark.slow
def test_a_run_without_data_says_what_was_left_out(tmp_path):
    environment = {**os.environ, "TFPRUNE_SHARED": str(tmp_path), "TFDS_DATA_DIR": str(tmp_path)}
    tests = ("test_golden_normalization", "test_normalization_by_hand", "test_shape_and_frozen")
    names = [f"recipes/data/test_in_memory.py::{name}" for name in tests]
    names.append("recipes/models/test_checkpoint.py::test_golden_logits_moving_averages")
    command = [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}" for name in names)]
    run = subprocess.run(command, cwd=FOLDER.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed, 2 skipped" in run.stdout
    _, _, end = run.stdout.partition(" left out ")
    for name, hint in HINTS.items():
        assert f"1 test needs {name}: {hint}" in end
