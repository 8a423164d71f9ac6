import shutil
from collections import namedtuple

import pytest

from tfprune.errors import RunFolderError
from tfprune.methods.ekg.bank_size import BankSize

IMAGENET = BankSize(1_281_167, 1000, 5, "float16")


@pytest.fixture
def free(monkeypatch):
    def set_free(count):
        usage = namedtuple("Usage", "free")(count)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

    return set_free


def test_imagenet_takes_13_gigabytes(tmp_path, free):
    assert IMAGENET.bytes == 12_811_670_000
    free(20 * 10**9)
    assert IMAGENET.check(tmp_path) == (
        f"memory bank: 1,281,167 images x 1,000 classes x 5 teachers in float16, 12.81 GB in {tmp_path}, 20.00 GB free"
    )


def test_what_does_not_fit_is_refused(tmp_path, free):
    free(10**9)
    with pytest.raises(RunFolderError, match=r"^no room for the memory bank: .* 12\.81 GB .* 1\.00 GB free; make room"):
        IMAGENET.check(tmp_path)
    assert IMAGENET.check(tmp_path, there=11_900_000_000)
    with pytest.raises(RunFolderError, match="--knowledge_dtype float16 or fewer --num_teacher"):
        BankSize(10**6, 1000, 1, "float32").check(tmp_path)


def test_numbers_of_every_size():
    assert str(BankSize(200, 10, 3, "float32")).endswith("in float32, 0.02 MB")
