from .archives import open_archive, read_member
from .arrays import ArrayFile, Expected, open_arrays
from .content import RefusedError, open_file, read_bytes, read_text, reading, shown
from .json_text import json_value, read_json
from .schema import Count, Name, Size, typed
from .weights import check_weights

__all__ = [
    "ArrayFile",
    "Count",
    "Expected",
    "Name",
    "RefusedError",
    "Size",
    "check_weights",
    "json_value",
    "open_archive",
    "open_arrays",
    "open_file",
    "read_bytes",
    "read_json",
    "read_member",
    "read_text",
    "reading",
    "shown",
    "typed",
]
