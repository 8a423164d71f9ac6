"""What a model is and where it comes from, in the file of the model itself: plain values under `tfprune.json`.

Every format has a place that programs which do not know it leave alone: `.keras` files are ZIP archives, a TFLite file
may end in one, a SavedModel may have a folder `assets.extra`. ONNX files have metadata, packed files a header.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.errors import ConfigError
from tfprune.reading import json_value, read_bytes
from tfprune.reading.archives import open_archive, read_member
from tfprune.reprs import described

Record = Mapping[str, Any]
EXTRA_FOLDER = "assets.extra"
_NAME = "tfprune.json"
_LARGEST = 1 << 20  # bytes


def record_text(record: Record) -> str:
    """Returns a record as JSON.

    Args:
        record: Values by name: numbers, texts, truth values, None, and lists and dicts of these.

    Raises:
        ConfigError: It holds something else.
    """
    if not isinstance(record, Mapping):
        raise ConfigError(f"record: expected values by name, received {described(record)}; give a dict")
    try:
        return json.dumps(dict(record), indent=1) + "\n"
    except (TypeError, ValueError) as error:
        raise ConfigError(f"record: expected numbers, texts, lists and dicts, received others: {error}") from None


def add_record(path: Path, record: Record | None) -> None:
    """Adds a record to a `.keras` file, a TFLite file or a SavedModel; nothing if it is None.

    Args:
        path: The file or folder, without a record.
        record: See `record_text`.

    Raises:
        ConfigError: See `record_text`.
    """
    if record is None:
        return
    text = record_text(record)
    if path.is_dir():
        extra = path / EXTRA_FOLDER
        extra.mkdir()
        (extra / _NAME).write_text(text, encoding="utf-8")
        return
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(_NAME)  # without the time, so that the same model makes the same file
        archive.writestr(member, text, zipfile.ZIP_DEFLATED)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what a `.keras` file, a TFLite file or a SavedModel records about its model.

    Args:
        path: The file or folder.

    Returns:
        The record; empty if there is none that can be read.
    """
    try:
        record = json_value(_content(Path(path)), finite=False)
    except Exception:  # damaged files make libraries raise anything
        return {}
    return record if isinstance(record, dict) else {}


def _content(path: Path) -> bytes:
    """Returns the JSON of a record; raises anything if there is none, or a damaged one."""
    if path.is_dir():
        return read_bytes(path / EXTRA_FOLDER / _NAME, _LARGEST)
    with open_archive(path) as archive:
        return read_member(archive, _NAME, _LARGEST)
