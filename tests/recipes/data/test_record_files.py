"""Any record of TFRecord files, as TensorFlow writes them."""

import os
import struct

import pytest
import tensorflow as tf

from tfprune.reading import RefusedError
from tfprune.recipes.data.record_files import RecordFiles


def record_files_write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def test_any_record_of_several_files(tmp_path):
    parts = [[b"first", b"", b"third" * 100], [], [b"x" * 70_000, b"last"]]
    paths = [record_files_write(tmp_path / f"part{number}", records) for number, records in enumerate(parts)]
    files = RecordFiles(paths, 5)
    everything = [record for records in parts for record in records]
    assert len(files) == 5
    assert [files.read(position) for position in (4, 0, 2, 1, 3)] == [everything[i] for i in (4, 0, 2, 1, 3)]
    assert [files.describe(position) for position in (2, 4)] == [f"record 2 of {paths[0]}", f"record 1 of {paths[2]}"]
    assert len(RecordFiles([], 0)) == 0


@pytest.mark.parametrize("cut", [1, 4, 10, 20])
def test_file_that_ends_too_early(tmp_path, cut):
    path = tmp_path / "records"
    record_files_write(path, [b"a whole record", b"12345678"])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="ends within record 1"):
        RecordFiles([str(path)], 2)


def test_more_records_than_there_may_be(tmp_path):
    paths = [record_files_write(tmp_path / name, [b"one", b"two"]) for name in "ab"]
    assert len(RecordFiles(paths, 4)) == 4
    with pytest.raises(RefusedError, match="/b has more than 1 records"):
        RecordFiles(paths, 3)


def test_zeros_without_end_are_not_counted(tmp_path):
    path = record_files_write(tmp_path / "sparse", [b"one"])
    os.truncate(path, 1 << 40)  # 64 billion records of no bytes
    with pytest.raises(RefusedError, match="has more than 1 records"):
        RecordFiles([path], 1)


def test_a_record_larger_than_an_image(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(struct.pack("<Q", 65 << 20))
    os.truncate(path, 100 << 20)
    with pytest.raises(RefusedError, match=r"record 0 of .* has more than 67,108,864 bytes"):
        RecordFiles([str(path)], 1)


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(RefusedError, match="it is no regular file"):
            RecordFiles([str(path)], 1)
