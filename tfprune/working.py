"""What is shown while something takes its time."""

from contextlib import AbstractContextManager

from rich.console import Console


def working(text: str) -> AbstractContextManager[object]:
    """A sign of life on a terminal's standard error, for as long as the context lasts; nothing elsewhere."""
    return Console(stderr=True).status(f"{text} ...")
