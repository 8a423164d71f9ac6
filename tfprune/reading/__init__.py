"""Reading of files that others made: within limits, running nothing of theirs, with one line for what is wrong.

`open_file` and `read_bytes` open regular files only. `reading` turns whatever a reader raises into one line for the
user. `RefusedError` is what a reader raises for a file that asks for too much, or for something else than was expected;
`shown` shortens what its message shows of the file. `check_weights` says what weights must be, and `typed` turns plain
values into objects of declared types.
"""

from tfprune.reading.content import RefusedError, open_file, read_bytes, read_text, reading, shown
from tfprune.reading.schema import Count, Name, Size, json_value, typed
from tfprune.reading.weights import check_weights

__all__ = [
    "Count",
    "Name",
    "RefusedError",
    "Size",
    "check_weights",
    "json_value",
    "open_file",
    "read_bytes",
    "read_text",
    "reading",
    "shown",
    "typed",
]
