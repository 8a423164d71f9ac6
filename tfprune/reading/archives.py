"""Zip archives, such as `.npz`, `.keras` and `.pth`, whose directory is checked before anything is unpacked.

A few bytes of a zip archive can become a thousand times as many, and its directory may say anything. `open_archive`
compares what it says with the size of the file, so that a small file cannot fill the memory.
"""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tfprune.reading.content import RefusedError, open_file, shown

ROOM = 32 << 20
"""Bytes that the members of any archive may have together, when they are unpacked."""
GROWTH = 128
"""How many times as large as the file the members of a large archive may be together."""
_MEMBERS = 1 << 16
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive and checks its directory; to be used within `reading`.

    Args:
        path: The file.

    Yields:
        The archive. Its members are to be read in parts or by `read_member`: they may be longer than they say.

    Raises:
        OSError: It cannot be opened.
        RefusedError: It is no archive or a damaged one, has a name twice, a member that is encrypted or compressed in
            an unknown way, or would become larger than `ROOM` and `GROWTH` times the file.
    """
    with open_file(path) as file, checked_archive(file) as archive:
        yield archive


def checked_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Returns the zip archive in an opened file, as `open_archive` does.

    Args:
        file: The file, which stays open when the archive is closed.
    """
    size = file.seek(0, os.SEEK_END)
    if not size:
        raise RefusedError("it is empty")
    try:
        archive = zipfile.ZipFile(file)
    except (ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise RefusedError("it is damaged or no ZIP archive") from error
    members = archive.infolist()
    if len(members) > _MEMBERS:
        raise RefusedError(f"it has more than {_MEMBERS:,} members")
    if len(archive.NameToInfo) < len(members):
        raise RefusedError("it has two members of one name")
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise RefusedError(f"its member {shown(member.filename)} is encrypted")
        if member.compress_type not in _METHODS:
            raise RefusedError(f"its member {shown(member.filename)} is compressed in an unknown way")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise RefusedError(f"its member {shown(member.filename)} has two sizes")
    if sum(member.compress_size for member in members) > size:
        raise RefusedError("its members share bytes")
    unpacked, most = sum(member.file_size for member in members), budget(size)
    if unpacked > most:
        raise RefusedError(f"it claims {unpacked:,} bytes, where {most:,} are the most for a file of {size:,}")
    return archive


def budget(size: int) -> int:
    """Returns how many bytes may be made of a file of `size` bytes."""
    return max(ROOM, GROWTH * size)


def read_member(archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """Returns the content of a member.

    Args:
        archive: An archive of `open_archive`.
        name: Name of the member.
        most: The most bytes it may have. Default: any number that `open_archive` accepts.

    Raises:
        RefusedError: There is none, or it is longer, or damaged.
    """
    if name not in archive.NameToInfo:
        raise RefusedError(f"it has no member {shown(name)}")
    size = archive.getinfo(name).file_size
    if most is not None and size > most:
        raise RefusedError(f"its member {shown(name)} has more than {most:,} bytes")
    try:
        with archive.open(name) as member:
            content = member.read(size)  # without a size, all would be unpacked at once, whatever the directory says
    except Exception as error:  # zlib, zipfile and struct raise errors of their own
        raise RefusedError(f"its member {shown(name)} is damaged") from error
    if len(content) != size:
        raise RefusedError(f"its member {shown(name)} ends early")
    return content
