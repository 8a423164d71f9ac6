import pytest
import tensorflow as tf

from tfprune.data.record_files import RecordFiles


def write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def test_any_record_of_several_files(tmp_path):
    parts = [[b"first", b"", b"third" * 100], [], [b"x" * 70_000, b"last"]]
    paths = [write(tmp_path / f"part{number}", records) for number, records in enumerate(parts)]
    files = RecordFiles(paths)
    everything = [record for records in parts for record in records]
    assert len(files) == 5
    assert [files.read(position) for position in (4, 0, 2, 1, 3)] == [everything[i] for i in (4, 0, 2, 1, 3)]
    assert [files.describe(position) for position in (2, 4)] == [f"record 2 of {paths[0]}", f"record 1 of {paths[2]}"]
    assert len(RecordFiles([])) == 0


@pytest.mark.parametrize("cut", [1, 4, 10, 20])
def test_file_that_ends_too_early(tmp_path, cut):
    path = tmp_path / "records"
    write(path, [b"a whole record", b"12345678"])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="ends within record 1"):
        RecordFiles([str(path)])
