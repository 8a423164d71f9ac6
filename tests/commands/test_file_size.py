import pytest

from tfprune.commands.file_size import file_size


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (23_659, "23.7 kB"), (1_234_567, "1.2 MB")]
)
def test_files(tmp_path, size, shown):
    (tmp_path / "file").write_bytes(bytes(size))
    assert file_size(tmp_path / "file") == shown


def test_folders(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(bytes(700))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(800))
    assert file_size(tmp_path / "a") == "1.5 kB"
