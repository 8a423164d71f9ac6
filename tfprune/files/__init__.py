"""Writing files so that a process killed at any moment leaves no half ones; needs nothing but Python."""

from tfprune.files.atomic import replaced_file, write_bytes, write_text
from tfprune.files.folder_lock import folder_lock
from tfprune.files.results_table import ResultsTable
from tfprune.files.writing import WriteError, writing

__all__ = ["ResultsTable", "WriteError", "folder_lock", "replaced_file", "write_bytes", "write_text", "writing"]
