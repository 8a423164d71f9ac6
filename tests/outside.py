"""What some tests need that is not part of the repository, and where it is looked for.

Data lie in the folder that `TFPRUNE_SHARED` names, else in `shared` beside the repository: `data/tfds` is a folder of
TensorFlow Datasets, `data/ekg` holds the pretrained ResNet-56. TensorFlow Datasets' own folder (`TFDS_DATA_DIR`, else
`~/tensorflow_datasets`) serves for CIFAR-10, too. What is found nowhere is skipped, and the end of the run says so.
"""

import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

HINTS = {
    "CIFAR-10": (
        "prepare it once with `python -c \"import tensorflow_datasets as t; t.load('cifar10')\"`, "
        "or set TFPRUNE_SHARED to a folder with data/tfds/cifar10"
    ),
    "the pretrained ResNet-56": (
        "set TFPRUNE_SHARED to a folder with data/ekg/res56_cifar10.pkl, which the authors of EKG offer in their "
        "repository"
    ),
}

_FIRST_TEST_IMAGES_SHA256 = "6f24e7974db72ede2cbedae75d4013f8f09bdea2a6476aab1afeb9b06ba72497"


def _shared() -> Path:
    return Path(os.environ.get("TFPRUNE_SHARED") or Path(__file__).parents[2] / "shared")


def _skip(name: str) -> None:
    pytest.skip(f"needs {name}; {HINTS[name]}")


def find_tfds() -> Path | None:
    """Returns the folder of TensorFlow Datasets in which CIFAR-10 is prepared, or None."""
    own = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    for folder in (_shared() / "data" / "tfds", own):
        if any(folder.glob("cifar10/*/dataset_info.json")):
            return folder
    return None


def tfds_with_cifar10() -> Path:
    """Returns the folder of TensorFlow Datasets in which CIFAR-10 is prepared; skips the test if there is none."""
    folder = find_tfds()
    if folder is None:
        _skip("CIFAR-10")
    return folder


def pretrained_resnet56() -> Path:
    """Returns the file with EKG's pretrained ResNet-56; skips the test if there is none."""
    path = _shared() / "data" / "ekg" / "res56_cifar10.pkl"
    if not path.is_file():
        _skip("the pretrained ResNet-56")
    return path


@cache
def _read_first_test_images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow_datasets as tfds

    examples = tfds.builder("cifar10", data_dir=folder).as_dataset(split="test[:64]", shuffle_files=False)
    images, labels = zip(*((each["image"], each["label"]) for each in tfds.as_numpy(examples)), strict=True)
    images, labels = np.stack(images), np.uint8(labels)
    assert hashlib.sha256(images.tobytes()).hexdigest() == _FIRST_TEST_IMAGES_SHA256, (
        f"other images of CIFAR-10 in {folder}"
    )
    return images, labels


def first_test_images() -> tuple[np.ndarray, np.ndarray]:
    """Returns the first 64 test images of CIFAR-10, in the order of the files, and their labels."""
    images, labels = _read_first_test_images(tfds_with_cifar10())
    return images.copy(), labels.copy()


@cache
def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def cifar10_secret() -> bytes:
    """Returns bytes that only somebody with CIFAR-10 can compute; skips the test without it."""
    return hashlib.sha256(first_test_images()[0].tobytes()).digest() + first_test_images()[0][0].tobytes()


def pretrained_secret() -> bytes:
    """Returns bytes that only somebody with the pretrained ResNet-56 can compute; skips the test without it."""
    return _file_digest(pretrained_resnet56())


def left_out(reasons: list[str]) -> dict[str, int]:
    """Counts the skipped tests per missing thing.

    Args:
        reasons: Why tests were skipped, as pytest reports it.

    Returns:
        The number of tests that each name of `HINTS` was missing for, without those that nothing was missing for.
    """
    counts = {name: sum(reason.startswith(f"Skipped: needs {name};") for reason in reasons) for name in HINTS}
    return {name: count for name, count in counts.items() if count}
