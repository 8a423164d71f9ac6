"""Any record of TFRecord files at any time, not only one after the other."""

import os
import struct
from collections.abc import Sequence

import numpy as np

_HEADER = 12  # length, 8 bytes, and its checksum
_FOOTER = 4  # checksum of the data


class RecordFiles:
    """Random access to the records of TFRecord files, which themselves hold no index.

    The index is made by going from header to header: 12 bytes read for each record.

    Args:
        paths: The files, in order.

    Raises:
        ValueError: A file ends within a record.
        OSError: A file cannot be read.

    Reference:
        https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        places = [_places(path) for path in paths]
        self._files = np.repeat(np.arange(len(paths)), [len(each) for each in places])
        self._places = np.concatenate(places) if places else np.empty((0, 2), np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, position: int) -> bytes:
        """The data of a record; other threads may read meanwhile."""
        file = os.open(self._paths[self._files[position]], os.O_RDONLY)
        try:
            offset, length = self._places[position].tolist()
            return os.pread(file, length, offset)
        finally:
            os.close(file)

    def describe(self, position: int) -> str:
        """File and place of a record."""
        file = self._files[position]
        return f"record {position - int(np.searchsorted(self._files, file))} of {self._paths[file]}"


def _places(path: str) -> np.ndarray:
    """Offset and length of the data of each record, `[records, 2]`."""
    places: list[tuple[int, int]] = []
    with open(path, "rb", buffering=0) as file:
        end, offset = os.fstat(file.fileno()).st_size, 0
        while offset < end:
            header = os.pread(file.fileno(), 8, offset)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else end
            if offset + _HEADER + length + _FOOTER > end:
                raise ValueError(f"{path} ends within record {len(places)}")
            places.append((offset + _HEADER, length))
            offset += _HEADER + length + _FOOTER
    return np.asarray(places, np.int64).reshape(-1, 2)
