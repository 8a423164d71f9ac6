"""ZIP archives: the directory is checked before anything is read."""

import os
import struct
import warnings
import zipfile
import zlib

import pytest

from tfprune.reading import RefusedError
from tfprune.reading.archives import MOST_GROWTH, open_archive, read_member

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def archive(path, members, method=STORED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            file.writestr(name, content)
    return path


def read(path):
    with open_archive(path) as file:
        return {name: read_member(file, name) for name in file.namelist()}


def refusal(path):
    with pytest.raises(RefusedError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_whole_archives(tmp_path, method):
    members = {"a": b"", "folder/b": os.urandom(5000), "c": b"x" * 50_000}
    path = archive(tmp_path / "a.zip", members.items(), method)
    assert read(path) == members
    with open_archive(path) as file:
        assert read_member(file, "c", 50_000) == members["c"]
        with pytest.raises(RefusedError, match=r"^its member c has more than 49,999 bytes$"):
            read_member(file, "c", 49_999)
        with pytest.raises(RefusedError, match=r"^it has no member d$"):
            read_member(file, "d")


def test_what_is_no_archive(tmp_path):
    path = tmp_path / "a.zip"
    for content in (b"", b"PK", b"PK\5\6" + bytes(18)[:-1], os.urandom(1000)):
        path.write_bytes(content)
        assert "no ZIP archive" in refusal(path)
    with pytest.raises(IsADirectoryError), open_archive(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "it is no regular file"


def test_bombs(tmp_path):
    content = bytes(8 << 20)
    assert len(zlib.compress(content)) * MOST_GROWTH < len(content)
    assert "it claims 8,388,609 bytes in a file of " in refusal(
        archive(tmp_path / "a.zip", [("a", content), ("b", b"x")], DEFLATED)
    )


def test_two_members_of_one_name(tmp_path):
    assert refusal(archive(tmp_path / "a.zip", [("a", b"1"), ("a", b"2")])) == "it has two members of one name"


def directory(path, change):
    """Changes the entry of the only member in the directory of an archive, a `bytearray` from its signature on."""
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    entry = bytearray(content[start:])
    change(entry)
    path.write_bytes(content[:start] + entry)
    return path


def put(form, at, value):
    return lambda entry: struct.pack_into(form, entry, at, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("<H", 8, 1), "its member 'member' is encrypted"),
        (put("<H", 10, 14), "its member 'member' is compressed in an unknown way"),
        (put("<I", 24, 1000), "its member 'member' has two sizes"),
        (put("<I", 16, 77), "its member member is damaged"),
        (put("<I", 42, 1), "damaged"),
    ],
    ids=["encrypted", "unknown method", "two sizes", "wrong sum", "wrong place"],
)
def test_damaged_directories(tmp_path, change, said):
    assert said in refusal(directory(archive(tmp_path / "a.zip", [("member", b"content")]), change))


def test_members_that_share_bytes(tmp_path):
    path = archive(tmp_path / "a.zip", [("a" * 30, os.urandom(900))])
    content = path.read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    entries = [bytearray(content[start:end]) for _ in range(50)]
    for index, entry in enumerate(entries):
        entry[46:48] = f"{index:02}".encode()
    size = sum(map(len, entries))
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), size, start, 0)
    path.write_bytes(content[:start] + b"".join(entries) + last)
    assert refusal(path) == "its members share bytes"


def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path):
    members = {"a": b"some content", "b": bytes(range(40))}
    whole = archive(tmp_path / "a.zip", members.items(), DEFLATED).read_bytes()
    path = tmp_path / "flipped.zip"
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read(path)
        except RefusedError:
            continue
        assert set(found.values()) <= set(members.values()), place
