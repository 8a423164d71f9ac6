"""TFRecord files with random access, which TensorFlow reads only in order."""

import os
import struct
from array import array
from collections.abc import Sequence

import numpy as np

from tfprune.reading import RefusedError, open_file
from tfprune.recipes.data.image_files import LARGEST_FILE

_HEADER = 12  # length, 8 bytes, and its checksum
_FOOTER = 4  # checksum of the data


class RecordFiles:
    """Random access to the records of TFRecord files, which contain no index.

    The index is built by reading the header of each record, 12 bytes.

    Args:
        paths: The files, in order.
        most: The most records of all of them.

    Raises:
        RefusedError: A file is no regular file, ends within a record, or has more records; or a record has more bytes
            than an image may have.
        OSError: A file cannot be read.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """

    def __init__(self, paths: Sequence[str], most: int) -> None:
        self._paths = paths
        places: list[np.ndarray] = []
        for path in paths:
            places.append(_places(path, most - sum(map(len, places))))
        self._files = np.repeat(np.arange(len(paths)), [len(each) for each in places])
        self._places = np.concatenate(places) if places else np.empty((0, 2), np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, position: int) -> bytes:
        """Reads the data of a record; several threads may read at the same time."""
        file = os.open(self._paths[self._files[position]], os.O_RDONLY)
        try:
            offset, length = self._places[position].tolist()
            return os.pread(file, length, offset)
        finally:
            os.close(file)

    def describe(self, position: int) -> str:
        """Returns file and number of a record, for messages."""
        file = self._files[position]
        return f"record {position - int(np.searchsorted(self._files, file))} of {self._paths[file]}"


def _places(path: str, most: int) -> np.ndarray:
    """Returns offset and length of the data of each record, `[records, 2]`."""
    places = array("q")
    with open_file(path) as file:
        end, offset = os.fstat(file.fileno()).st_size, 0
        while offset < end:
            if len(places) >= 2 * most:
                raise RefusedError(f"{path} has more than {most} records")
            header = os.pread(file.fileno(), 8, offset)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else end
            if offset + _HEADER + length + _FOOTER > end:
                raise RefusedError(f"{path} ends within record {len(places) // 2}")
            if length > LARGEST_FILE:
                raise RefusedError(f"record {len(places) // 2} of {path} has more than {LARGEST_FILE:,} bytes")
            places.extend((offset + _HEADER, length))
            offset += _HEADER + length + _FOOTER
    return np.array(places, np.int64).reshape(-1, 2)
