"""ZIP archives that others made: `.keras` files, `.npz` files and records within other files."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from tfprune.reading.content import RefusedError, open_file

MOST_GROWTH = 100
"""How many times the bytes of an archive its members may have."""

_FREE = 1 << 20  # bytes that members may have in any case
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Opens a ZIP archive, whose directory is checked before anything is read.

    Args:
        path: The file.

    Yields:
        The archive. Its members have different names, are stored or deflated, do not share bytes, and are together at
        most `MOST_GROWTH` times as large as the file.

    Raises:
        OSError: It cannot be opened.
        RefusedError: It is no such archive.
        zipfile.BadZipFile: It is damaged.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise RefusedError("it is damaged or no ZIP archive") from error
        with archive:
            _check_directory(archive.infolist(), size)
            yield archive


def _check_directory(members: list[zipfile.ZipInfo], size: int) -> None:
    """Raises RefusedError unless the members of an archive of `size` bytes are as `open_archive` promises."""
    if len({member.filename for member in members}) < len(members):
        raise RefusedError("it has two members of one name")
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise RefusedError(f"its member {member.filename!r:.100} is encrypted")
        if member.compress_type not in _METHODS:
            raise RefusedError(f"its member {member.filename!r:.100} is compressed in an unknown way")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise RefusedError(f"its member {member.filename!r:.100} has two sizes")
    if sum(member.compress_size for member in members) > size:
        raise RefusedError("its members share bytes")
    claimed = sum(member.file_size for member in members)
    if claimed > _FREE + MOST_GROWTH * size:
        raise RefusedError(f"it claims {claimed:,} bytes in a file of {size:,}")


def read_member(archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """Returns the content of a member of an archive.

    Args:
        archive: The archive, from `open_archive`.
        name: The name of the member.
        most: The most bytes it may have. Default: any number that `open_archive` accepts.

    Raises:
        RefusedError: It is missing, too large, or damaged.
    """
    if name not in archive.namelist():
        raise RefusedError(f"it has no member {name}")
    if most is not None and archive.getinfo(name).file_size > most:
        raise RefusedError(f"its member {name} has more than {most:,} bytes")
    try:
        return archive.read(name)
    except Exception as error:  # zlib, zipfile and struct raise errors of their own
        raise RefusedError(f"its member {name} is damaged") from error
