"""Zip archives are opened only if their directory fits the file."""

import os
import struct
import zipfile
import zlib

import pytest

from tfprune.errors import CheckpointError
from tfprune.reading import RefusedError, open_archive, read_member, reading
from tfprune.reading.archives import GROWTH, ROOM

DIRECTORY = b"PK\1\2"
METHOD, FLAGS, PACKED, SIZE = (10, "<H"), (8, "<H"), (20, "<I"), (24, "<I")  # fields of an entry of the directory


def write(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)


def changed(path, field, value):
    """Writes another value into the first entry of the directory."""
    content = bytearray(path.read_bytes())
    place, code = field
    struct.pack_into(code, content, content.index(DIRECTORY) + place, value)
    path.write_bytes(content)


def refusal(path):
    with pytest.raises(RefusedError) as caught, open_archive(path):
        pass
    return str(caught.value)


def test_members_are_read(tmp_path):
    write(tmp_path / "a.zip", [("a", b"1" * 1000), ("b", b"")])
    with open_archive(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["a", "b"]
        assert read_member(archive, "a", 1000) == b"1" * 1000
        assert read_member(archive, "b", 0) == b""
        with pytest.raises(RefusedError, match="its member 'a' has more than 999 bytes"):
            read_member(archive, "a", 999)
        with pytest.raises(RefusedError, match="it has no member 'c'"):
            read_member(archive, "c", 1)


def test_a_small_file_cannot_become_a_large_one(tmp_path):
    write(tmp_path / "a.zip", [("a", bytes(ROOM))])
    with open_archive(tmp_path / "a.zip") as archive:
        assert len(read_member(archive, "a", ROOM)) == ROOM
    write(tmp_path / "a.zip", [("a", bytes(ROOM)), ("b", b"1")])
    assert "it claims 33,554,433 bytes, where 33,554,432 are the most for a file of " in refusal(tmp_path / "a.zip")


def test_a_large_file_may_become_some_times_as_large(tmp_path):
    path = tmp_path / "a.zip"
    write(path, [("a", bytes(ROOM // GROWTH))], zipfile.ZIP_STORED)
    size = path.stat().st_size
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b", bytes(GROWTH * size - ROOM // GROWTH))
    with open_archive(path):
        pass
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c", bytes(GROWTH * size))
    assert "it claims" in refusal(path)


def test_a_member_that_is_longer_than_it_says_is_not_unpacked_further(tmp_path):
    """A hundred million zeros whose directory says 10 bytes."""
    path = tmp_path / "a.zip"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    write(path, [("a", packed)], zipfile.ZIP_STORED)
    changed(path, METHOD, zipfile.ZIP_DEFLATED)
    changed(path, SIZE, 10)
    changed(path, (16, "<I"), zlib.crc32(bytes(10)))
    with open_archive(path) as archive:
        assert read_member(archive, "a", 10) == bytes(10)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (METHOD, zipfile.ZIP_BZIP2, "its member 'a' is compressed in an unknown way"),
        (METHOD, zipfile.ZIP_LZMA, "its member 'a' is compressed in an unknown way"),
        (METHOD, 99, "its member 'a' is compressed in an unknown way"),
        (METHOD, zipfile.ZIP_STORED, "its member 'a' has two sizes"),
        (FLAGS, 1, "its member 'a' is encrypted"),
        (SIZE, 2**32 - 2, "it claims 4,294,967,294 bytes, where 33,554,432 are the most for a file of "),
        (PACKED, 2**32 - 2, "its members share bytes"),
    ],
)
def test_directories_that_say_something_else(tmp_path, field, value, said):
    path = tmp_path / "a.zip"
    write(path, [("a", b"1" * 1000)])
    changed(path, field, value)
    assert refusal(path).startswith(said)


def test_two_members_of_one_name(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        write(path, [("a", b"1"), ("a", b"2")])
    assert refusal(path) == "it has two members of one name"


def test_many_members(tmp_path):
    write(tmp_path / "a.zip", [(str(number), b"") for number in range((1 << 16) + 1)])
    assert refusal(tmp_path / "a.zip") == "it has more than 65,536 members"


def test_a_member_with_other_bytes_than_its_sum_says(tmp_path):
    path = tmp_path / "a.zip"
    write(path, [("a", b"12345")], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"12345", b"12346"))
    with (
        pytest.raises(CheckpointError, match="expected a model, its member 'a' is damaged; "),
        reading(path, "a model"),
        open_archive(path) as archive,
    ):
        read_member(archive, "a")


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"")
    assert refusal(path) == "it is empty"
    for content in (b"PK", b"PK\5\6" + bytes(17), os.urandom(1000)):
        path.write_bytes(content)
        assert refusal(path) == "it is damaged or no ZIP archive"
    with pytest.raises(IsADirectoryError), open_archive(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "it is no regular file"


def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path):
    members = {"a": b"some content", "b": bytes(range(40))}
    path = tmp_path / "a.zip"
    write(path, members.items())
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            with open_archive(path) as archive:
                found = [read_member(archive, name) for name in archive.namelist()]
        except RefusedError:
            refused += 1
        else:
            assert set(found) <= set(members.values()), place
    assert refused > len(whole) // 2
