"""Reading of files that others made: within limits, running nothing of theirs, with one line for what is wrong.

`open_file` and `read_bytes` open regular files only. `reading` turns whatever a reader raises into one line for the
user. `RefusedError` is what a reader raises for a file that asks for too much, or for something else than was expected;
`shown` shortens what its message shows of the file. `typed` turns plain values into objects of declared types.

Each format has a module, of which some are only imported from where they are needed. `json_value` and `read_json` read
JSON, `yaml_file` YAML; `open_archive` opens ZIP archives and `open_arrays` `.npz` files; `pickle_reader` reads pickles,
`pickles` those of NumPy, `torch_file` those of PyTorch; `keras_file` reads models. `check_weights` says what weights
must be.
"""

from tfprune.reading.archives import open_archive, read_member
from tfprune.reading.arrays import ArrayFile, Expected, open_arrays
from tfprune.reading.content import RefusedError, open_file, read_bytes, read_text, reading, shown
from tfprune.reading.json_text import json_value, read_json
from tfprune.reading.schema import Count, Name, Size, typed
from tfprune.reading.weights import check_weights

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
