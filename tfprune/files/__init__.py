"""Writing files so that a process killed at any moment leaves no half ones; needs nothing but Python."""

from tfprune.files.atomic import replaced_file, write_bytes, write_text
from tfprune.files.writing import WriteError, writing

__all__ = ["WriteError", "replaced_file", "write_bytes", "write_text", "writing"]
