"""Files that are either old or new, never half: `tfprune.files`, for those who train."""

from tfprune.files import write_bytes, write_text

__all__ = ["write_bytes", "write_text"]
